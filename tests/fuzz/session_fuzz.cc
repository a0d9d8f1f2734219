// A whole conversation of a hostile but authenticated agent: frames with right checksums and any
// content, through the real reader into a real session. It may be refused; it may not crash, hold
// memory, or hand over a record that is out of order.
#include "base/checksum.h"
#include "base/conditions.h"
#include "base/log.h"
#include "base/random.h"
#include "ingest/frame_reader.h"
#include "ingest/session.h"

#include <algorithm>
#include <map>

namespace {

using namespace cw;

constexpr std::size_t head_bytes = wire::frame_header_bytes;
// What nobody takes: one of each beginning and end, and a burst of what an agent says of its mode.
constexpr std::size_t notices_max = 20;

// Shared by all inputs: what a conversation borrowed must have come back when it ends.
pipeline::SlabPool& pool() {
    static const auto pool = std::move(*pipeline::SlabPool::create("fuzz", 8));
    return *pool;
}

MetricRegistry& metrics() {
    static const auto registry = make_metric_registry();
    return *registry;
}

class Conversation {
public:
    Conversation() {
        wire::Hello hello;
        for (std::uint8_t i = 1; i <= 2; ++i) {
            wire::Hello::Disk disk;
            disk.id.bytes.fill(std::byte{i});
            disk.size_bytes = 64 * mib;
            disk.next_seq = disk.oldest_held = Seq{1};
            hello.disks.push_back(std::move(disk));
        }
        feed(wire::encode_control_frame({.type = wire::FrameType::hello}, wire::encode(hello)));
        pipeline::MachineOpened opened;
        opened.machine = session_.machine();
        opened.session = session_.id();
        for (const auto& disk : session_.outbox().open->disks) {
            pipeline::DiskWelcome welcome;
            welcome.disk = disk.disk;
            welcome.generation = Generation{1};
            welcome.action = opened.disks.empty() ? pipeline::DiskAction::continue_
                                                  : pipeline::DiskAction::initial;
            opened.disks.push_back(std::move(welcome));
        }
        session_.on_opened(std::move(opened));
        CW_ASSERT(session_.live());
    }

    // Mends magic, checksums and session of the frame in `bytes`, so that its content is reached.
    void say(ByteVector frame) {
        ByteWriter(frame).u32(wire::frame_magic);
        ByteWriter(MutableBytes(frame).subspan(24)).u32(raw(session_.id()));
        std::uint32_t table_bytes = 0;
        std::memcpy(&table_bytes, frame.data() + 12, 4);
        const Bytes payload = Bytes(frame).subspan(head_bytes);
        const std::uint32_t crc =
            crc32c(payload.first(std::min<std::size_t>(table_bytes, payload.size())));
        ByteWriter(MutableBytes(frame).subspan(32)).u32(crc);
        const std::uint32_t header_crc = crc32c(Bytes(frame).first(36));
        ByteWriter(MutableBytes(frame).subspan(36)).u32(header_crc);
        feed(frame);
    }
    [[nodiscard]] bool over() const { return !session_.ready(); }

private:
    void feed(Bytes bytes) {
        while (!bytes.empty() && session_.ready()) {
            const MutableBytes target = reader_.target();
            const std::size_t count = std::min(target.size(), bytes.size());
            if (count == 0) {
                return;
            }
            std::memcpy(target.data(), bytes.data(), count);
            bytes = bytes.subspan(count);
            auto sound = reader_.filled(count);
            if (sound && reader_.header()) {
                sound = session_.check_header(*reader_.header());
            }
            if (!sound) {
                session_.on_error(sound.error());
            } else if (reader_.header() && !reader_.complete()) {
                run_short();
            }
            if (sound && reader_.complete()) {
                session_.on_frame(reader_.take());
                CW_ASSERT(session_.outbox().notices.size() <= notices_max);
                take_record();
            }
        }
    }
    // While all memory is on loan the reader asks for none of the data's bytes, and keeps nothing.
    void run_short() {
        if (short_ || reader_.header()->data_bytes() == 0) {
            return;
        }
        short_ = true;  // Once in a conversation: the frame may have its memory by then.
        const std::size_t free_before = pool().free_count();
        std::vector<pipeline::Slab> loans;
        while (pipeline::Slab loan = pool().try_take()) {
            loans.push_back(std::move(loan));
        }
        const bool had_memory = free_before != pool().count();
        CW_ASSERT(had_memory || reader_.target().empty());
        loans.clear();
        CW_ASSERT(pool().free_count() == free_before);
    }
    void take_record() {
        auto& record = session_.outbox().record;
        if (!record) {
            return;
        }
        const pipeline::RecordHeader& header = record->header;
        if (header.seq_count > 0) {
            // Gapless, whatever was said; but a disk's first may be a fence above what is expected.
            const auto [next, first] = next_.try_emplace(header.key.disk, 1);
            const bool leaps = first && header.type == pipeline::RecordType::resync_begin &&
                               raw(header.seq) > next->second;
            CW_ASSERT(leaps || raw(header.seq) == next->second);
            next->second = raw(header.seq) + header.seq_count;
        }
        record.reset();
        session_.flush();
        session_.output().clear();
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(1);
    Conditions conditions_{clock_};
    ingest::SessionTable table_{clock_, *random_, conditions_};
    ingest::SharedCredit credit_{gib, 64 * mib};
    ingest::Authorise authorise_;
    ingest::Limits limits_;
    ingest::FrameReader reader_{pool()};
    ingest::Session session_{{.clock = clock_,
                              .table = table_,
                              .credit = credit_,
                              .metrics = metrics(),
                              .authorise = authorise_,
                              .limits = limits_,
                              .reactor = 0,
                              .has_digests = true},
                             Identity{Role::machine, {std::byte{7}}},
                             "fuzz",
                             1};
    std::map<DiskId, std::uint64_t> next_;
    bool short_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool quiet = (cw::set_log_level(cw::LogLevel::error), true);
    static_cast<void>(quiet);
    CW_ASSERT(pool().free_count() == pool().count());
    Conversation conversation;
    Bytes rest(reinterpret_cast<const std::byte*>(data), size);
    while (rest.size() >= head_bytes && !conversation.over()) {
        std::uint32_t payload = 0;
        std::memcpy(&payload, rest.data() + 8, 4);
        // Payloads are filled up with zeros, so that small inputs speak of large frames.
        const std::size_t here = std::min<std::size_t>(payload, rest.size() - head_bytes);
        ByteVector frame(rest.begin(),
                         rest.begin() + static_cast<std::ptrdiff_t>(head_bytes + here));
        frame.resize(head_bytes + std::min<std::size_t>(payload, mib));
        conversation.say(std::move(frame));
        rest = rest.subspan(head_bytes + here);
    }
    return 0;
}
