// Each structure of the spool file by itself: a valid one with patches, its checksum made right on
// demand, so that every field is reached. What is accepted is written again and read the same. The
// first byte chooses.
#include "cache/spool_format.h"
#include "tests/fuzz/damaged_file.h"

#include <algorithm>

namespace {

using namespace cw;
using namespace cw::cache;

constexpr std::uint64_t region_bytes = 128 * kib;

MachineId machine() {
    MachineId id;
    id.bytes.fill(std::byte{1});
    return id;
}
SpoolId spool() {
    SpoolId id;
    id.bytes.fill(std::byte{2});
    return id;
}

// The CRC lies at 8 in every structure; a superblock and a batch count it as zero, a checkpoint
// leaves it out.
void repair_zeroed(ByteVector& file, std::size_t /*at*/) {
    if (file.size() >= block_bytes) {
        ByteWriter(MutableBytes(file).subspan(8, 4)).u32(0);
        const std::uint32_t crc = crc32c(file);
        ByteWriter(MutableBytes(file).subspan(8, 4)).u32(crc);
    }
}
void repair_left_out(ByteVector& file, std::size_t /*at*/) {
    if (file.size() >= block_bytes) {
        const std::uint32_t crc = crc32c(Bytes(file).subspan(12), crc32c(Bytes(file).first(8)));
        ByteWriter(MutableBytes(file).subspan(8, 4)).u32(crc);
    }
}

void check_superblock(ByteReader& in) {
    ByteVector bytes(block_bytes);
    encode_superblock({spool(), 8 * region_bytes, region_bytes}, bytes);
    const auto block = decode_superblock(fuzz::damaged(std::move(bytes), in, repair_zeroed));
    if (!block) {
        return;
    }
    CW_ASSERT(block->region_count() * block->region_bytes == block->size_bytes);
    CW_ASSERT(block->slot_offset(1) + block->slot_bytes() <= block->region_bytes);
    ByteVector again(block_bytes);
    encode_superblock(*block, again);
    CW_ASSERT(decode_superblock(again) == *block);
}

BatchHeader make_batch() {
    BatchHeader batch{
        .spool = spool(), .offset = region_bytes, .epoch = 3, .number = 9, .records = {}};
    batch.durable_through = 7;
    for (std::uint64_t i = 0; i < 3; ++i) {
        BatchRecord record{.lsn = Lsn{i + 1}, .moved = i == 1, .header = {}};
        record.header.key = {machine(), {}, Generation{1}};
        record.header.type = RecordType::write;
        record.header.seq = Seq{i + 1};
        record.header.seq_count = 1;
        record.header.table_bytes = block_bytes;
        record.header.data_bytes = static_cast<std::uint32_t>(i * block_bytes);
        batch.records.push_back(record);
    }
    return batch;
}

void check_batch(ByteReader& in) {
    const BatchHeader valid = make_batch();
    ByteVector bytes(valid.header_bytes());
    encode_batch_header(valid, bytes);
    bytes = fuzz::damaged(std::move(bytes), in, repair_zeroed);
    const auto start = peek_batch_header(bytes);
    const auto batch = decode_batch_header(bytes);
    if (!batch) {
        return;
    }
    // What the first block says of itself is what the whole says.
    CW_ASSERT(start && start->spool == batch->spool && start->offset == batch->offset);
    CW_ASSERT(start->epoch == batch->epoch && start->number == batch->number);
    CW_ASSERT(start->header_bytes == batch->header_bytes());
    CW_ASSERT(!decode_batch_header(Bytes(bytes).first(start->header_bytes - 1)));
    ByteVector again(batch->header_bytes());
    encode_batch_header(*batch, again);
    const auto read = decode_batch_header(again);
    CW_ASSERT(read && read->total_bytes() == batch->total_bytes());
    CW_ASSERT(std::ranges::all_of(read->records, [](const BatchRecord& record) {
        return raw(record.lsn) > 0 && record_header_valid(record.header);
    }));
}

Checkpoint make_checkpoint() {
    Checkpoint checkpoint{.spool = spool(),
                          .generation = 4,
                          .durable_through = 7,
                          .next_batch = 9,
                          .regions = {},
                          .streams = {}};
    checkpoint.epoch = 3;
    checkpoint.next_lsn = Lsn{40};
    checkpoint.released_below = Lsn{12};
    checkpoint.regions = {{},
                          {RegionState::sealed, 1, 1, 4},
                          {RegionState::open, 2, 4, 0},
                          {RegionState::next, 3, 0, 0}};
    for (std::uint8_t i = 1; i <= 2; ++i) {
        StreamView view{
            .seq = Seq{100}, .fence = Seq{50}, .fence_open = true, .ordinals = {}, .beyond = {}};
        view.base_lost = i == 2;
        view.ordinals.insert_range(3, 9);
        view.ordinals.insert_range(20, 20);
        view.beyond = {{Seq{110}, Seq{115}}, {Seq{120}, Seq{120}}};
        checkpoint.streams[{machine(), DiskId{{std::byte{i}}}, Generation{1}}] = view;
    }
    checkpoint.losses = {{{}, Seq{}},
                         {{machine(), DiskId{{std::byte{1}}}, Generation{1}}, Seq{117}},
                         {{machine(), DiskId{{std::byte{3}}}, Generation{2}}, Seq{9}}};
    return checkpoint;
}

void check_same(const Checkpoint& one, const Checkpoint& other) {
    CW_ASSERT(one.spool == other.spool && one.generation == other.generation);
    CW_ASSERT(one.durable_through == other.durable_through && one.next_batch == other.next_batch);
    CW_ASSERT(one.epoch == other.epoch && one.next_lsn == other.next_lsn);
    CW_ASSERT(one.released_below == other.released_below && one.regions == other.regions);
}

void check_checkpoint(ByteReader& in) {
    ByteVector bytes = encode_checkpoint(make_checkpoint(), region_bytes);
    bytes = fuzz::damaged(std::move(bytes), in, repair_left_out);
    const auto checkpoint = decode_checkpoint(bytes);
    if (!checkpoint) {
        return;
    }
    CW_ASSERT(peek_checkpoint_bytes(bytes).value() <= bytes.size());
    const ByteVector again = encode_checkpoint(*checkpoint, region_bytes);
    CW_ASSERT(!again.empty());
    const auto read = decode_checkpoint(again);
    CW_ASSERT(read && read->streams == checkpoint->streams && read->losses == checkpoint->losses);
    check_same(*read, *checkpoint);
    CW_ASSERT(!decode_checkpoint(Bytes(again).first(again.size() - 1)));
    CW_ASSERT(encode_checkpoint(*checkpoint, block_bytes - 1).empty());
}

// Where the ordinals of open fences have no room they are left out; of losses it stays that there
// are some; and nothing else goes.
void check_without_room(ByteReader& in) {
    Checkpoint checkpoint = make_checkpoint();
    StreamView& view = checkpoint.streams.begin()->second;
    const std::uint32_t step = 2 + in.u8().value_or(0);
    for (std::uint32_t i = 0; i < 600; ++i) {
        view.ordinals.insert_range(100 + i * step, 100 + i * step);
    }
    const std::uint64_t more_losses = in.u8().value_or(0);
    for (std::uint64_t i = 0; i < more_losses; ++i) {
        checkpoint.losses[{machine(), {}, Generation{i}}] = Seq{i};
    }
    const ByteVector bytes = encode_checkpoint(checkpoint, block_bytes);
    CW_ASSERT(bytes.size() == block_bytes);
    const auto read = decode_checkpoint(bytes);
    CW_ASSERT(read && read->streams.size() == checkpoint.streams.size());
    CW_ASSERT(read->losses == checkpoint.losses || read->losses == Losses({{{}, Seq{}}}));
    check_same(*read, checkpoint);
    for (const auto& [key, seen] : read->streams) {
        const StreamView& before = checkpoint.streams.at(key);
        CW_ASSERT(seen.ordinals.range_count() == 0 && seen.beyond == before.beyond);
        CW_ASSERT(seen.fence_open == before.fence_open && seen.base_lost == before.base_lost);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteReader in({reinterpret_cast<const std::byte*>(data), size}, Errc::usage);
    const auto kind = in.u8();
    if (!kind) {
        return 0;
    }
    switch (*kind % 4) {
        case 0:
            check_superblock(in);
            break;
        case 1:
            check_batch(in);
            break;
        case 2:
            check_checkpoint(in);
            break;
        default:
            check_without_room(in);
    }
    return 0;
}
