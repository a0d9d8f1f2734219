#include "recovery/page_proof.h"

#include "base/assert.h"
#include "base/checksum.h"

#include <algorithm>
#include <cstring>

namespace cw::recovery {
namespace {

constexpr std::uint64_t span_bytes = blob::page_span_bytes_max;

constexpr std::uint64_t end_of(const auto& range) {
    return range.offset + range.length;
}

}  // namespace

Result<const std::vector<blob::PageRange>*> PageMap::span(std::uint64_t begin) {
    CW_ASSERT(begin % span_bytes == 0 && begin < place_.bytes);
    if (begin_ == begin) {
        return &ranges_;
    }
    begin_.reset();
    ranges_.clear();
    const std::uint64_t length = std::min(span_bytes, place_.bytes - begin);
    std::string marker;
    do {
        CW_TRY_ASSIGN(blob::PageRanges page, place_.requests.ask<blob::PageRanges>([&](auto done) {
            place_.store.ranges({place_.blob, begin, length, marker}, done);
        }));
        ranges_.insert(ranges_.end(), page.ranges.begin(), page.ranges.end());
        if (!page.next.empty() && page.next == marker) {
            return fail(Errc::blob_rejected, "page ranges that do not end");
        }
        marker = std::move(page.next);
    } while (!marker.empty());
    begin_ = begin;
    return &ranges_;
}

Result<ByteRange> PageMap::occupied(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t begin = offset - offset % span_bytes, end = offset + length;
    CW_ASSERT(end <= begin + span_bytes);
    CW_TRY_ASSIGN(const auto* ranges, span(begin));
    ByteRange hull;
    for (const blob::PageRange& range : *ranges) {
        const std::uint64_t from = std::max(range.offset, offset);
        const std::uint64_t to = std::min(end_of(range), end);
        if (from < to) {
            hull.offset = hull.length == 0 ? from : hull.offset;
            hull.length = to - hull.offset;
        }
    }
    return hull;
}

void PageProof::wrote(std::uint64_t offset, Bytes bytes) {
    if (!written_.empty() && end_of(written_.back()) == offset) {
        written_.back().length += bytes.size();
    } else {
        written_.push_back({offset, bytes.size()});
    }
    ++writes_;
    const std::uint64_t place = writes_ <= samples_max ? samples_.size() : random_.below(writes_);
    if (place < samples_max) {
        samples_.resize(std::max<std::size_t>(samples_.size(), place + 1));
        samples_[place] = {offset, bytes.size(), crc64nvme(bytes)};
    }
}

Result<void> PageProof::check_ranges() {
    PageMap map(place_);
    for (std::uint64_t begin = 0; begin < place_.bytes; begin += span_bytes) {
        CW_TRY(check_span(map, begin, std::min(begin + span_bytes, place_.bytes)));
    }
    return {};
}

// Two lists walked at once: what only one of them has.
Result<void> PageProof::check_span(PageMap& map, std::uint64_t begin, std::uint64_t end) {
    CW_TRY_ASSIGN(const auto* ranges, map.span(begin));
    auto ours = std::ranges::upper_bound(written_, begin, {}, end_of<ByteRange>);
    auto theirs = ranges->begin();
    for (std::uint64_t at = begin; at < end;) {
        while (ours != written_.end() && end_of(*ours) <= at) {
            ++ours;
        }
        while (theirs != ranges->end() && end_of(*theirs) <= at) {
            ++theirs;
        }
        const std::uint64_t our_begin = ours == written_.end() ? end : ours->offset;
        const std::uint64_t their_begin = theirs == ranges->end() ? end : theirs->offset;
        const bool written = our_begin <= at, there = their_begin <= at;
        const std::uint64_t until = std::min(
            {end, written ? end_of(*ours) : our_begin, there ? end_of(*theirs) : their_begin});
        if (written && !there) {
            return differs(at, "was written, but the service has nothing there");
        }
        if (there && !written) {
            CW_TRY(check_zero(at, until));
        }
        at = until;
    }
    return {};
}

// Pages that exist may still be zeros.
Result<void> PageProof::check_zero(std::uint64_t offset, std::uint64_t end) {
    while (offset < end) {
        const std::uint64_t length = std::min(end - offset, blob::page_write_bytes_max);
        const auto bytes = read(offset, length);
        if (!bytes && bytes.error().code != Errc::cancelled) {
            return differs(offset, "should be a hole, but the service has something there");
        }
        CW_TRY(bytes);
        if (!all_zero(*bytes)) {
            return differs(offset, "should be zeros");
        }
        offset += length;
    }
    return {};
}

Result<void> PageProof::check_samples() {
    for (const Sample& sample : samples_) {
        CW_TRY_ASSIGN(const ByteVector bytes, read(sample.offset, sample.length));
        if (crc64nvme(bytes) != sample.crc64) {
            return differs(sample.offset, "was read back with other bytes");
        }
    }
    return {};
}

Result<void> PageProof::check_all(Image& image,
                                  const std::function<void(std::uint64_t, Bytes)>& seen) {
    ByteVector wanted(blob::page_write_bytes_max);
    for (std::uint64_t at = 0; at < image.size_bytes(); at += wanted.size()) {
        const std::uint64_t length =
            std::min<std::uint64_t>(wanted.size(), image.size_bytes() - at);
        const MutableBytes part = MutableBytes(wanted).first(length);
        const auto extents = image.extents(at, length, 2);
        if (extents.size() == 1 && extents.front().zero) {  // check_ranges() has seen it.
            std::ranges::fill(part, std::byte{0});
            seen(at + length, part);
            continue;
        }
        CW_TRY(place_.requests.insist<void>([&] { return image.read(at, part); }));
        CW_TRY_ASSIGN(const ByteVector bytes, read(at, length));
        if (bytes.size() != part.size() ||
            std::memcmp(bytes.data(), part.data(), part.size()) != 0) {
            const auto first = std::ranges::mismatch(bytes, part).in1 - bytes.begin();
            return differs(at + static_cast<std::uint64_t>(first), "differs from the point");
        }
        seen(at + length, bytes);
    }
    return check_samples();  // The footer, if it is among them.
}

Result<ByteVector> PageProof::read(std::uint64_t offset, std::uint64_t length) {
    return place_.requests.ask<ByteVector>(
        [&](auto done) { place_.store.read({place_.blob, offset, length}, done); });
}

std::unexpected<Error> PageProof::differs(std::uint64_t at, const char* how) const {
    return fail(Errc::restore_mismatch, place_.blob.container + "/" + place_.blob.name + ": byte " +
                                            std::to_string(at) + " " + how);
}

}  // namespace cw::recovery
