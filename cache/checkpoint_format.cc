// Checkpoints: the part of the spool format that grows with regions and streams.
#include "base/checksum.h"
#include "cache/spool_format.h"

#include <limits>

namespace cw::cache {
namespace {

constexpr std::uint32_t checkpoint_magic = 0x314b5743;  // "CWK1"
constexpr std::size_t head_bytes = 96, region_entry_bytes = 32;
constexpr std::size_t stream_entry_bytes = 72, range_bytes = 8, beyond_bytes = 16;
constexpr std::size_t loss_bytes = 48;

std::uint32_t checkpoint_crc(Bytes bytes) {
    // The CRC field lies at 8, as in every structure of the spool.
    return crc32c(bytes.subspan(12), crc32c(bytes.first(8)));
}

// What stands for all losses where they have no room: that there are some is never left out.
const Losses unknown_loss{{StreamKey{}, Seq{}}};

std::size_t size_of(const Checkpoint& checkpoint, bool with_ordinals, const Losses& losses) {
    std::size_t sum = head_bytes + checkpoint.regions.size() * region_entry_bytes;
    sum += losses.size() * loss_bytes;
    for (const auto& [key, view] : checkpoint.streams) {
        sum += stream_entry_bytes + view.beyond.size() * beyond_bytes;
        sum += with_ordinals ? view.ordinals.range_count() * range_bytes : 0;
    }
    return sum;
}

void write_key(ByteAppender& w, const StreamKey& key) {
    w.bytes(key.machine.bytes);
    w.bytes(key.disk.bytes);
    w.u64(raw(key.generation));
}

void write_stream(ByteAppender& w, const StreamKey& key, const StreamView& view, bool ordinals) {
    write_key(w, key);
    w.u64(raw(view.seq));
    w.u64(raw(view.fence));
    w.u32(view.fence_open ? 1U + (view.base_lost ? 2U : 0U) : 0U);
    w.u32(static_cast<std::uint32_t>(ordinals ? view.ordinals.range_count() : 0));
    w.u32(static_cast<std::uint32_t>(view.beyond.size()));
    w.u32(0);
    for (const SeqRange& range : view.beyond) {
        w.u64(raw(range.first));
        w.u64(raw(range.last));
    }
    if (ordinals) {
        for (const auto& [first, last] : view.ordinals.ranges()) {
            w.u32(first);
            w.u32(last);
        }
    }
}

std::unexpected<Error> corrupt(const char* what) {
    return fail(Errc::record_corrupt, std::string("checkpoint ") + what);
}

Result<void> read_beyond(ByteReader& in, std::uint32_t count, StreamView& view) {
    Seq floor = view.seq;
    for (std::uint32_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(const std::uint64_t first, in.u64());
        CW_TRY_ASSIGN(const std::uint64_t last, in.u64());
        if (first <= raw(floor) || last < first || last > counter_max) {
            return corrupt("ranges");
        }
        view.beyond.push_back({Seq{first}, Seq{last}});
        floor = Seq{last};
    }
    return {};
}

Result<StreamKey> read_key(ByteReader& in) {
    StreamKey key;
    CW_TRY_ASSIGN(key.machine.bytes, in.array<16>());
    CW_TRY_ASSIGN(key.disk.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint64_t generation, in.u64());
    key.generation = Generation{generation};
    return key;
}

Result<void> read_loss(ByteReader& in, Checkpoint& out) {
    CW_TRY_ASSIGN(const StreamKey key, read_key(in));
    CW_TRY_ASSIGN(const std::uint64_t last, in.u64());
    if (last > counter_max || !out.losses.emplace(key, Seq{last}).second) {
        return corrupt("losses");
    }
    return {};
}

Result<void> read_stream(ByteReader& in, Checkpoint& out) {
    StreamView view;
    CW_TRY_ASSIGN(const StreamKey key, read_key(in));
    CW_TRY_ASSIGN(const std::uint64_t seq, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t fence, in.u64());
    view.seq = Seq{seq};
    view.fence = Seq{fence};
    CW_TRY_ASSIGN(const std::uint32_t flags, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t ranges, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t beyond, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t zero, in.u32());
    const bool known = flags <= 1 || flags == 3;
    if (!known || zero != 0 || seq > counter_max || fence > counter_max) {
        return corrupt("stream");
    }
    view.fence_open = (flags & 1U) != 0;
    view.base_lost = (flags & 2U) != 0;
    CW_TRY(read_beyond(in, beyond, view));
    for (std::uint32_t i = 0; i < ranges; ++i) {
        CW_TRY_ASSIGN(const std::uint32_t first, in.u32());
        CW_TRY_ASSIGN(const std::uint32_t last, in.u32());
        if (last < first || last >= super_chunks_max) {
            return corrupt("ordinals");
        }
        view.ordinals.insert_range(first, last);
    }
    if (!out.streams.emplace(key, std::move(view)).second) {
        return corrupt("stream twice");
    }
    return {};
}

Result<RegionEntry> read_region(ByteReader& in) {
    RegionEntry entry;
    CW_TRY_ASSIGN(const std::uint64_t state, in.u64());
    CW_TRY_ASSIGN(entry.epoch, in.u64());
    CW_TRY_ASSIGN(entry.first_batch, in.u64());
    CW_TRY_ASSIGN(entry.end_batch, in.u64());
    if (state > static_cast<std::uint64_t>(RegionState::sealed)) {
        return corrupt("region state");
    }
    entry.state = static_cast<RegionState>(state);
    const bool used = entry.state == RegionState::open || entry.state == RegionState::sealed;
    if (entry.epoch > counter_max || (used && (entry.epoch == 0 || entry.first_batch == 0)) ||
        (entry.state == RegionState::sealed && entry.end_batch <= entry.first_batch)) {
        return corrupt("region");
    }
    return entry;
}

}  // namespace

ByteVector encode_checkpoint(const Checkpoint& checkpoint, std::size_t max) {
    const auto fits = [&](bool ordinals, const Losses& losses) {
        return align_up(size_of(checkpoint, ordinals, losses), block_bytes) <= max;
    };
    const bool all = checkpoint.losses.empty() || fits(false, checkpoint.losses);
    const Losses& losses = all ? checkpoint.losses : unknown_loss;
    const bool ordinals = fits(true, losses);
    const std::size_t size = size_of(checkpoint, ordinals, losses);
    const std::size_t padded = align_up(size, block_bytes);
    if (padded > max || padded > std::numeric_limits<std::uint32_t>::max()) {
        return {};
    }
    ByteVector out;
    out.reserve(padded);
    ByteAppender w(out);
    w.u32(checkpoint_magic);
    w.u16(spool_format_version);
    w.u16(0);
    w.u32(0);  // The CRC, below.
    w.u32(static_cast<std::uint32_t>(padded));
    w.bytes(checkpoint.spool.bytes);
    w.u64(checkpoint.generation);
    w.u64(checkpoint.durable_through);
    w.u64(checkpoint.next_batch);
    w.u64(checkpoint.epoch);
    w.u64(raw(checkpoint.next_lsn));
    w.u64(raw(checkpoint.released_below));
    w.u32(static_cast<std::uint32_t>(checkpoint.regions.size()));
    w.u32(static_cast<std::uint32_t>(checkpoint.streams.size()));
    w.u32(static_cast<std::uint32_t>(losses.size()));
    w.zeros(head_bytes - out.size());
    for (const RegionEntry& entry : checkpoint.regions) {
        w.u64(static_cast<std::uint64_t>(entry.state));
        w.u64(entry.epoch);
        w.u64(entry.first_batch);
        w.u64(entry.end_batch);
    }
    for (const auto& [key, view] : checkpoint.streams) {
        write_stream(w, key, view, ordinals);
    }
    for (const auto& [key, last] : losses) {
        write_key(w, key);
        w.u64(raw(last));
    }
    CW_ASSERT(out.size() == size);
    w.zeros(padded - size);
    ByteWriter(MutableBytes(out).subspan(8, 4)).u32(checkpoint_crc(out));
    return out;
}

Result<std::uint32_t> peek_checkpoint_bytes(Bytes first_block) {
    ByteReader in(first_block, Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY(in.take(8));  // The version is believed once the checksum has been compared.
    CW_TRY_ASSIGN(const std::uint32_t bytes, in.u32());
    if (magic != checkpoint_magic || bytes < block_bytes || bytes % block_bytes != 0) {
        return corrupt("absent");
    }
    return bytes;
}

Result<Checkpoint> decode_checkpoint(Bytes slot) {
    CW_TRY_ASSIGN(const std::uint32_t bytes, peek_checkpoint_bytes(slot));
    if (bytes > slot.size()) {
        return corrupt("cut short");
    }
    ByteReader in(slot.first(bytes), Errc::record_corrupt);
    CW_TRY(in.take(4));
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    CW_TRY(in.u16());
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    if (crc != checkpoint_crc(slot.first(bytes))) {
        return corrupt("checksum");
    }
    if (version != spool_format_version) {
        return fail(Errc::format_unsupported, "checkpoint version " + std::to_string(version));
    }
    CW_TRY(in.u32());
    Checkpoint out;
    CW_TRY_ASSIGN(out.spool.bytes, in.array<16>());
    CW_TRY_ASSIGN(out.generation, in.u64());
    CW_TRY_ASSIGN(out.durable_through, in.u64());
    CW_TRY_ASSIGN(out.next_batch, in.u64());
    CW_TRY_ASSIGN(out.epoch, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t next_lsn, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t released, in.u64());
    out.next_lsn = Lsn{next_lsn};
    out.released_below = Lsn{released};
    CW_TRY_ASSIGN(const std::uint32_t regions, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t streams, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t losses, in.u32());
    CW_TRY(in.take(head_bytes - in.position()));
    const bool counts = out.generation <= counter_max && out.next_batch <= counter_max &&
                        out.epoch <= counter_max && next_lsn <= counter_max;
    if (!counts || regions > in.remaining() / region_entry_bytes ||
        out.next_batch <= out.durable_through || next_lsn == 0 || released > next_lsn) {
        return corrupt("fields");
    }
    out.regions.reserve(regions);
    for (std::uint32_t i = 0; i < regions; ++i) {
        CW_TRY_ASSIGN(const RegionEntry entry, read_region(in));
        out.regions.push_back(entry);
    }
    for (std::uint32_t i = 0; i < streams; ++i) {
        CW_TRY(read_stream(in, out));
    }
    if (losses > in.remaining() / loss_bytes) {
        return corrupt("losses");
    }
    for (std::uint32_t i = 0; i < losses; ++i) {
        CW_TRY(read_loss(in, out));
    }
    return out;
}

}  // namespace cw::cache
