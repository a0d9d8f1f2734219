#include "tests/sim/shared_image.h"

#include "base/assert.h"

#include <algorithm>
#include <cstring>

namespace cw::sim {

SharedBytes::SharedBytes(std::uint64_t size)
    : size_(size), pieces_((size + piece_bytes - 1) / piece_bytes) {}

// Calls action(piece, offset within it, offset within the range, length) for each piece touched.
template <typename Action>
void SharedBytes::for_pieces(std::uint64_t offset, std::uint64_t length, Action action) {
    for (std::uint64_t at = 0; at < length;) {
        const std::uint64_t inside = (offset + at) % piece_bytes;
        const std::uint64_t part = std::min(length - at, piece_bytes - inside);
        action((offset + at) / piece_bytes, inside, at, part);
        at += part;
    }
}

SharedBytes::Piece& SharedBytes::own(std::size_t index) {
    std::shared_ptr<Piece>& piece = pieces_[index];
    if (piece == nullptr) {
        piece = std::make_shared<Piece>();
    } else if (piece.use_count() > 1) {
        piece = std::make_shared<Piece>(*piece);
    }
    return *piece;
}

void SharedBytes::read(std::uint64_t offset, MutableBytes out) const {
    CW_ASSERT(offset <= size_ && out.size() <= size_ - offset);
    for_pieces(offset, out.size(), [&](auto index, auto inside, auto at, auto length) {
        if (pieces_[index] == nullptr) {
            std::memset(out.data() + at, 0, length);
        } else {
            std::memcpy(out.data() + at, pieces_[index]->data() + inside, length);
        }
    });
}

void SharedBytes::write(std::uint64_t offset, Bytes bytes) {
    CW_ASSERT(offset <= size_ && bytes.size() <= size_ - offset);
    for_pieces(offset, bytes.size(), [&](auto index, auto inside, auto at, auto length) {
        std::memcpy(own(index).data() + inside, bytes.data() + at, length);
    });
}

void SharedBytes::zero(std::uint64_t offset, std::uint64_t length) {
    CW_ASSERT(offset <= size_ && length <= size_ - offset);
    for_pieces(offset, length, [&](auto index, auto inside, auto, auto part) {
        if (pieces_[index] != nullptr) {
            std::memset(own(index).data() + inside, 0, part);
        }
    });
}

std::optional<std::uint64_t> SharedBytes::first_difference(Bytes bytes) const {
    CW_ASSERT(bytes.size() == size_);
    static const auto zeros = std::make_unique<const Piece>();
    std::optional<std::uint64_t> found;
    for_pieces(0, size_, [&](auto index, auto, auto at, auto length) {
        const Piece& mine = pieces_[index] == nullptr ? *zeros : *pieces_[index];
        if (found || std::memcmp(mine.data(), bytes.data() + at, length) == 0) {
            return;
        }
        const Bytes theirs = bytes.subspan(at, length);
        const auto differs = std::ranges::mismatch(theirs, mine).in1;
        found = at + static_cast<std::uint64_t>(differs - theirs.begin());
    });
    return found;
}

bool operator==(const SharedBytes& a, const SharedBytes& b) {
    if (a.size_ != b.size_) {
        return false;
    }
    ByteVector bytes(b.size_);
    b.read(0, bytes);
    return !a.first_difference(bytes);
}

Result<void> SharedImage::read(std::uint64_t offset, MutableBytes out) {
    bytes_.read(offset, out);
    return {};
}

Result<void> SharedImage::write(std::uint64_t offset, Bytes in) {
    bytes_.write(offset, in);
    return {};
}

Result<void> SharedImage::zero(std::uint64_t offset, std::uint64_t length, bool) {
    bytes_.zero(offset, length);
    return {};
}

}  // namespace cw::sim
