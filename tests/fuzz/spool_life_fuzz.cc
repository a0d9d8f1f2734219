// The life of a spool on a device that goes bad: what is appended, released, killed, cut off from
// power, unreadable and overwritten is up to the input, and after each start what comes back is
// looked at. A device that was not damaged gives back all that was durable and not released, and
// reports nothing; one that was gives back nothing that was never appended.
#include "base/checksum.h"
#include "base/log.h"
#include "cache/spool.h"
#include "cache/spool_format.h"
#include "pipeline/extent_table.h"
#include "tests/fakes/sim_disk.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>

namespace {

using namespace cw;
using namespace cw::cache;

constexpr std::uint64_t region_bytes = 128 * kib, regions = 8;
constexpr std::uint64_t file_blocks = regions * region_bytes / block_bytes;
constexpr std::size_t operations_max = 400;
const std::string log_file = "/spool/spool.log";

pipeline::SlabPool& slabs() {
    static const auto pool = *pipeline::SlabPool::create("fuzz", 64);
    return *pool;
}

// False: too many are still on their way.
bool add_data(Record& record, std::byte content) {
    record.slabs[0] = slabs().try_take();
    if (!record.slabs[0]) {
        return false;
    }
    const MutableBytes data = record.slabs[0].bytes().first(block_bytes);
    std::ranges::fill(data, content);
    record.header.data_bytes = block_bytes;
    pipeline::ExtentTable table;
    table.extents.push_back({.offset = 0, .length = block_bytes, .crc = crc32c(data)});
    pipeline::write_extent_table(table, record.table.bytes());
    return true;
}

std::optional<Record> make_record(const StreamKey& key, RecordType type, Seq seq,
                                  std::uint32_t ordinal) {
    Record record;
    record.header.key = key;
    record.header.type = type;
    record.header.seq = seq;
    record.header.ordinal = type == RecordType::base ? ordinal : 0;
    record.header.aux = 1 * mib;
    record.header.seq_count = consumes_sequence(type) ? 1 : 0;
    record.header.table_bytes = block_bytes;
    record.table = pipeline::TableBuffer(block_bytes);
    const bool data = type == RecordType::write || type == RecordType::base;
    if (data && !add_data(record, static_cast<std::byte>(ordinal + 1))) {
        return std::nullopt;
    }
    record.header.table_crc = crc32c(record.table.bytes());
    return record;
}

class Life {
public:
    Life() { CW_ASSERT(start()); }
    ~Life() { storage_.kill(); }
    Life(const Life&) = delete;
    Life& operator=(const Life&) = delete;

    // False: the life is over.
    bool operate(ByteReader& in) {
        switch (*in.u8() % 10) {
            case 0:
            case 1:
                append(in);
                return true;
            case 2:
                step(1 + in.u8().value_or(0) % 8);
                return true;
            case 3:
                release(in.u8().value_or(0));
                return true;
            case 4:
                step(60);
                return true;
            case 5:
                return stop_and_start([this] { static_cast<void>(spool_->close()); });
            case 6:
                return stop_and_start([this] { storage_.kill(); });
            case 7:
                return stop_and_start([this] { storage_.power_cut(); });
            case 8:
                make_unreadable(in);
                return true;
            default:
                overwrite(in);
                return true;
        }
    }

private:
    bool start() {
        disk_ = storage_.make_disk();
        SpoolOptions options;
        options.path = "/spool";
        options.size_bytes = regions * region_bytes;
        options.region_bytes = region_bytes;
        options.batch_bytes_max = 32 * kib;
        options.prewrite = false;
        auto opened = Spool::open(options, {*disk_, clock_, *random_, conditions_, *metrics_});
        CW_ASSERT(opened || damaged_);
        if (!opened) {
            return false;
        }
        spool_ = std::move(*opened);
        std::map<Lsn, RecordHeader> found;
        while (const auto stored = spool_->next_recovered()) {
            check(*stored, found);
        }
        if (!damaged_) {
            CW_ASSERT(spool_->damaged().empty());
            for (const auto& entry : durable_) {
                CW_ASSERT(found.contains(entry.first));
            }
        }
        durable_ = std::move(found);
        return true;
    }

    void check(const StoredRecord& stored, std::map<Lsn, RecordHeader>& found) {
        const RecordHeader& header = stored.record.header;
        CW_ASSERT(found.empty() || found.rbegin()->first < stored.lsn);
        if (!overwritten_) {
            const auto known = appended_.find(stored.lsn);
            CW_ASSERT(known == appended_.end() ||
                      (known->second.key == header.key && known->second.type == header.type &&
                       known->second.seq == header.seq));
        }
        found.emplace(stored.lsn, header);
    }

    bool stop_and_start(const std::function<void()>& stop) {
        stop();
        spool_.reset();
        disk_.reset();
        storage_.kill();
        return start();
    }

    void append(ByteReader& in) {
        constexpr RecordType types[] = {
            RecordType::write,      RecordType::base,  RecordType::point,  RecordType::resync_begin,
            RecordType::resync_end, RecordType::flush, RecordType::resize, RecordType::write};
        const std::uint8_t which = in.u8().value_or(0), more = in.u8().value_or(0);
        StreamKey key;
        key.machine.bytes[0] = std::byte{1};
        key.disk.bytes[0] = static_cast<std::byte>(1 + which % 2);
        key.generation = Generation{1U + (which >> 1) % 2};
        const RecordType type = types[(which >> 2) % 8];
        const Stream* const stream = spool_->stream_table().find(key);
        const Seq last = stream == nullptr ? Seq{} : stream->appended.seq;
        Seq seq = last;
        if (type == RecordType::base) {
            seq = stream == nullptr ? Seq{1} : stream->appended.fence;
        } else if (type == RecordType::resync_begin) {
            seq = Seq{raw(last) + 1 + more % 4};
        } else if (consumes_sequence(type)) {
            seq = Seq{raw(last) + 1};
        }
        auto record = make_record(key, type, seq, more % 16);
        if (record && !spool_->failed() &&
            spool_->stream_table().check(record->header) == Arrival::accept) {
            spool_->append(*record);
        }
    }

    void step(int times) {
        for (int i = 0; i < times; ++i) {
            clock_.advance(20 * ns_per_ms);
            spool_->step(4);
            while (auto stored = spool_->take_durable()) {
                appended_[stored->lsn] = stored->record.header;
                durable_.emplace(stored->lsn, stored->record.header);
            }
        }
    }

    // One, or all up to it.
    void release(std::uint8_t which) {
        const bool through = which >= 0x80;
        std::size_t at = which & 0x7f;
        for (auto it = durable_.begin(); it != durable_.end(); --at) {
            if (through || at == 0) {
                spool_->release(it->first);
                it = durable_.erase(it);
            } else {
                ++it;
            }
            if (at == 0) {
                return;
            }
        }
    }

    void make_unreadable(ByteReader& in) {
        const std::uint64_t block = in.u16().value_or(0) % file_blocks;
        const std::uint8_t how = in.u8().value_or(0);
        const std::uint64_t blocks = std::min<std::uint64_t>(1U << (how % 6), file_blocks - block);
        storage_.fail_reads(log_file, block * block_bytes, blocks * block_bytes,
                            how < 0x80 ? UINT64_MAX : 1 + how % 5);
        damaged_ = true;
    }

    void overwrite(ByteReader& in) {
        const std::uint64_t block = in.u16().value_or(0) % file_blocks;
        const std::uint8_t with = in.u8().value_or(0);
        if (with == 0xff) {  // As it was, one bit aside.
            storage_.flip_bit(log_file, block * block_bytes + 700, 3);
        } else if (with == 0xfe) {  // Another place's content.
            const ByteVector other = storage_.contents(
                log_file, (block * 7 + 13) % file_blocks * block_bytes, block_bytes);
            storage_.overwrite(log_file, block * block_bytes, other);
        } else {
            storage_.overwrite(log_file, block * block_bytes,
                               ByteVector(block_bytes, std::byte{with}));
        }
        damaged_ = overwritten_ = true;
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(1);
    Conditions conditions_{clock_};
    std::unique_ptr<MetricRegistry> metrics_ = make_metric_registry();
    fakes::SimStorage storage_{1};
    std::unique_ptr<fakes::SimDisk> disk_;
    std::unique_ptr<Spool> spool_;
    bool damaged_ = false, overwritten_ = false;
    std::map<Lsn, RecordHeader> appended_;  // Ever durable,
    std::map<Lsn, RecordHeader> durable_;   // and not released.
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    set_log_level(LogLevel::error);
    ByteReader in({reinterpret_cast<const std::byte*>(data), size}, Errc::usage);
    Life life;
    for (std::size_t i = 0; i < operations_max && in.remaining() > 0; ++i) {
        if (!life.operate(in)) {
            break;
        }
    }
    return 0;
}
