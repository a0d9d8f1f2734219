// Spool recovery over arbitrary damage: the input is a list of patches to a valid spool file, each
// of them with its checksum made right if it says so. Whatever comes, recovery does not crash, what
// it gives back verifies or is refused, and a second recovery agrees with the first.
#include "base/checksum.h"
#include "base/log.h"
#include "cache/spool.h"
#include "cache/spool_format.h"
#include "tests/fakes/sim_disk.h"

#include <algorithm>

namespace {

using namespace cw;
using namespace cw::cache;

constexpr std::uint64_t region_bytes = 128 * kib, regions = 8;
const std::string log_file = "/spool/spool.log";

Record make_record(std::uint64_t seq) {
    Record record;
    record.header.key.machine.bytes[0] = static_cast<std::byte>(1 + seq % 2);
    record.header.key.disk.bytes[0] = std::byte{1};
    record.header.key.generation = Generation{1};
    record.header.type = RecordType::resize;
    record.header.seq = Seq{seq / 2 + 1};
    record.header.seq_count = 1;
    record.header.table_bytes = block_bytes;
    record.table = pipeline::TableBuffer(block_bytes);
    record.table.bytes()[0] = static_cast<std::byte>(seq);
    record.header.table_crc = crc32c(record.table.bytes());
    return record;
}

struct Seams {
    ManualClock clock;
    std::unique_ptr<Random> random = make_seeded_random(1);
    Conditions conditions{clock};
    std::unique_ptr<MetricRegistry> metrics = make_metric_registry();
};

Result<std::unique_ptr<Spool>> open_spool(Disk& disk, Seams& seams) {
    SpoolOptions options;
    options.path = "/spool";
    options.size_bytes = regions * region_bytes;
    options.region_bytes = region_bytes;
    options.batch_bytes_max = 32 * kib;
    options.prewrite = false;
    return Spool::open(options,
                       {disk, seams.clock, *seams.random, seams.conditions, *seams.metrics});
}

ByteVector fill(fakes::SimStorage& storage, Seams& seams) {
    const auto disk = storage.make_disk();
    auto spool = open_spool(*disk, seams);
    CW_ASSERT(spool.has_value());
    for (std::uint64_t seq = 0; seq < 24; ++seq) {
        Record record = make_record(seq);
        CW_ASSERT((*spool)->append(record));
        for (int i = 0; i < 20 && !(*spool)->idle(); ++i) {
            (*spool)->step(4);
        }
    }
    storage.kill();
    return storage.contents(log_file);
}

// Makes the CRC right of whatever structure starts at this block.
void repair_checksum(ByteVector& bytes, std::uint64_t at) {
    const MutableBytes here = MutableBytes(bytes).subspan(at);
    std::uint32_t length = block_bytes;
    if (const auto header = peek_batch_header_bytes(here)) {
        length = *header;
    } else if (const auto checkpoint = peek_checkpoint_bytes(here)) {
        if (*checkpoint > here.size()) {
            return;
        }
        const Bytes whole = here.first(*checkpoint);
        ByteWriter(here.subspan(8, 4)).u32(crc32c(whole.subspan(12), crc32c(whole.first(8))));
        return;
    }
    if (length <= here.size()) {
        ByteWriter(here.subspan(8, 4)).u32(0);
        const std::uint32_t crc = crc32c(here.first(length));
        ByteWriter(here.subspan(8, 4)).u32(crc);
    }
}

// Patch: u16 block, u16 offset in it (top bit: repair the block's CRC), u8 length, bytes.
void patch(fakes::SimStorage& storage, ByteVector bytes, Bytes input) {
    ByteReader in(input, Errc::usage);
    while (in.remaining() >= 5) {
        const std::uint64_t block = *in.u16() % (bytes.size() / block_bytes);
        const std::uint16_t place = *in.u16();
        const std::size_t wanted = *in.u8();
        const Bytes piece = *in.take(std::min(wanted, in.remaining()));
        const std::uint64_t at = block * block_bytes + place % 1024;
        std::ranges::copy(piece.first(std::min(piece.size(), bytes.size() - at)),
                          bytes.begin() + static_cast<std::ptrdiff_t>(at));
        if ((place & 0x8000) != 0) {
            repair_checksum(bytes, block * block_bytes);
        }
    }
    storage.overwrite(log_file, 0, bytes);
}

std::vector<Lsn> recover_all(fakes::SimStorage& storage, Seams& seams, bool& opened) {
    const auto disk = storage.make_disk();
    auto spool = open_spool(*disk, seams);
    opened = spool.has_value();
    std::vector<Lsn> lsns;
    while (opened) {
        const auto stored = (*spool)->next_recovered();
        if (!stored) {
            break;
        }
        CW_ASSERT(lsns.empty() || lsns.back() < stored->lsn);
        const Record& record = stored->record;
        if (record.header.data_bytes == 0) {
            CW_ASSERT(crc32c(record.table.bytes()) == record.header.table_crc);
        }
        lsns.push_back(stored->lsn);
    }
    if (opened) {
        static_cast<void>((*spool)->close());
    }
    return lsns;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    set_log_level(LogLevel::error);
    Seams seams;
    static fakes::SimStorage storage(1);  // The file is put back before each input.
    static const ByteVector valid = fill(storage, seams);
    patch(storage, valid, {reinterpret_cast<const std::byte*>(data), size});
    bool first_opened = false, second_opened = false;
    const auto first = recover_all(storage, seams, first_opened);
    const auto second = recover_all(storage, seams, second_opened);
    CW_ASSERT(first_opened == second_opened && first == second);
    return 0;
}
