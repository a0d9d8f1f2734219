#include "tests/agent/model_disk.h"

#include "base/checksum.h"

#include <algorithm>
#include <cstring>

namespace cw::agent::test {

void ModelDisk::begin_generation() {
    generation = Generation{raw(generation) + 1};
    std::erase_if(pieces, [&](const Piece& piece) { return piece.seq > committed; });
    received = durable = committed;
    fence = {};
}

Result<void> ModelDisk::keep(const wire::FrameHeader& header, Bytes payload, bool base) {
    CW_TRY_ASSIGN(const auto table, pipeline::read_extent_table(payload.first(header.table_bytes),
                                                                header.data_bytes(), size));
    if (base) {
        std::erase_if(pieces, [&](const Piece& piece) {
            return piece.base && piece.seq == header.seq && piece.ordinal == header.ordinal;
        });
        ordinals.insert(header.ordinal);
    }
    std::uint64_t index = 0;
    for (const auto& extent : table.extents) {
        const Seq seq = base ? header.seq : advance(header.seq, index++);
        Piece piece{seq, base, header.ordinal, extent, {}, {}};
        if (extent.op == pipeline::ExtentOp::write) {
            const Bytes data =
                payload.subspan(header.table_bytes + extent.data_position, extent.length);
            if (crc32c(data) != extent.crc) {
                return fail(Errc::frame_malformed, "extent CRC");
            }
            piece.data.assign(data.begin(), data.end());
        }
        pieces.push_back(std::move(piece));
    }
    if (!base) {
        received = advance(header.seq, table.extents.size() - 1);
    }
    return {};
}

void ModelDisk::open_fence(Seq at) {
    std::erase_if(pieces, [](const Piece& piece) { return piece.base && raw(piece.end) == 0; });
    must_begin = false;
    fence = at;
    ordinals.clear();
    received = at;
}

void ModelDisk::close_fence(Seq at) {
    for (Piece& piece : pieces) {
        if (piece.base && piece.seq == fence) {
            piece.end = at;
        }
    }
    fence = {};
    received = at;
}

void ModelDisk::lose_received() {
    // What is lost is a suffix of what was received; here: all that was not acknowledged.
    std::erase_if(pieces, [&](const Piece& piece) { return !piece.base && piece.seq > durable; });
    if (fence > durable) {
        fence = {};
        std::erase_if(pieces, [](const Piece& piece) { return piece.base && raw(piece.end) == 0; });
    }
    for (Piece& piece : pieces) {
        if (piece.base && piece.end > durable) {
            fence = piece.seq;
            piece.end = {};
        }
    }
    received = durable;
}

ByteVector ModelDisk::materialise(Seq cut) const {
    std::vector<const Piece*> order;
    for (const Piece& piece : pieces) {
        const bool seen = piece.base ? raw(piece.end) != 0 && piece.end <= cut : piece.seq <= cut;
        if (seen) {
            order.push_back(&piece);
        }
    }
    std::ranges::stable_sort(order, {}, [](const Piece* piece) { return piece->seq; });
    std::uint64_t end = size;  // Of a disk that was made smaller: pieces may lie beyond it.
    for (const Piece* piece : order) {
        end = std::max(end, piece->extent.offset + piece->extent.length);
    }
    ByteVector image(end);
    for (const Piece* piece : order) {
        std::byte* const to = image.data() + piece->extent.offset;
        if (piece->extent.op == pipeline::ExtentOp::write) {
            std::memcpy(to, piece->data.data(), piece->extent.length);
        } else {
            std::memset(to, 0, piece->extent.length);
        }
    }
    image.resize(size);
    return image;
}

}  // namespace cw::agent::test
