// Replica logs as somebody else's machine drops them: a valid one with patches, its checksums made
// right on demand. Whatever is read lies within the disk, in whole sectors, twice the same.
#include "agent/hrl/hrl_reader.h"
#include "agent/hrl/hrl_writer.h"
#include "tests/fuzz/damaged_file.h"

namespace {

using namespace cw;
using namespace cw::agent;

const std::string path = "/logs/disk.hrl";
constexpr std::uint64_t disk_bytes = 4 * mib;

ByteVector valid_log(cw::Disk& disk, fakes::SimStorage& storage) {
    HrlHeader header;
    header.id.fill(std::byte{2});
    header.previous.fill(std::byte{1});
    auto log = HrlWriter::create(disk, path, header, 1).value();
    for (std::uint64_t i = 0; i < 3; ++i) {
        const ByteVector data(sector_bytes * (i + 1), std::byte{7});
        CW_ASSERT(log.write(i * 64 * kib, data, 2).has_value());
    }
    CW_ASSERT(log.close(3).has_value());
    return storage.contents(path);
}

void seal(MutableBytes part, std::size_t field) {
    const std::uint32_t sum = hrl_sum(part.subspan(field + 4), hrl_sum(part.first(field)));
    ByteWriter(part.subspan(field, 4)).u32(hrl_checksum_of_sum(sum));
}

// Of the header, or of a metadata block's head or entry.
void repair(ByteVector& file, std::size_t at) {
    if (file.size() < 2 * hrl_block_bytes) {
        return;
    }
    if (at < hrl_block_bytes) {
        return seal(MutableBytes(file).first(hrl_block_bytes), 40);
    }
    const std::size_t last = file.size() - hrl_block_bytes;
    const std::size_t block = at >= last ? last : hrl_block_bytes;
    const std::size_t part = (at - block) / 32 * 32;
    if (part + 32 <= hrl_block_bytes) {
        seal(MutableBytes(file).subspan(block + part, 32), part == 0 ? 12 : 8);
    }
}

// How many bytes the log writes; nothing if it is refused on the way.
std::optional<std::uint64_t> read_all(HrlReader& log) {
    std::uint64_t total = 0;
    for (;;) {
        const auto piece = log.next(disk_bytes);
        if (!piece) {
            return std::nullopt;
        }
        if (!*piece) {
            return total;
        }
        const HrlReader::Piece& one = **piece;
        CW_ASSERT(!one.data.empty() && one.data.size() <= HrlReader::piece_bytes_max);
        CW_ASSERT(one.offset % sector_bytes == 0 && one.data.size() % sector_bytes == 0);
        CW_ASSERT(one.offset <= disk_bytes && one.data.size() <= disk_bytes - one.offset);
        total += one.data.size();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteReader in{{reinterpret_cast<const std::byte*>(data), size}, Errc::usage};
    fakes::SimStorage storage(1);
    const auto disk = storage.make_disk();
    CW_ASSERT(disk->create_directories("/logs").has_value());
    ByteVector file = valid_log(*disk, storage);
    fuzz::put_file(*disk, path, fuzz::damaged(std::move(file), in, repair));
    for (const bool strict : {true, false}) {
        auto log = HrlReader::open(*disk, path, strict);
        if (!log) {
            continue;
        }
        CW_ASSERT(parse_hrl_id(hrl_id_text(log->header().id)).value() == log->header().id);
        const auto first = read_all(*log);
        log->rewind();
        CW_ASSERT(read_all(*log) == first);
    }
    return 0;
}
