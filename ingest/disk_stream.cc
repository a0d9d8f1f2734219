#include "ingest/disk_stream.h"

#include "base/assert.h"
#include "pipeline/fence.h"
#include "pipeline/record.h"

#include <algorithm>
#include <bit>

namespace cw::ingest {
namespace {

// Moves at most `max` ordinals from the front of `from`.
std::vector<std::uint32_t> take_some(std::vector<std::uint32_t>& from, std::size_t max) {
    const auto end = from.begin() + static_cast<std::ptrdiff_t>(std::min(from.size(), max));
    std::vector<std::uint32_t> out(from.begin(), end);
    from.erase(from.begin(), end);
    return out;
}

}  // namespace

DiskStream::DiskStream(const pipeline::DiskHello& hello, const pipeline::DiskWelcome& welcome)
    : id_(hello.disk),
      generation_(welcome.generation),
      size_bytes_(hello.size_bytes),
      next_(next(welcome.durable)),
      spooled_(welcome.durable),
      committed_(welcome.committed) {
    CW_ASSERT(hello.disk == welcome.disk && welcome.committed <= welcome.durable);
    using enum pipeline::DiskAction;
    if (welcome.resync_open) {
        fence_ = welcome.fence;
        base_held_ = welcome.base_durable;
        for (const std::byte bits : base_held_) {
            base_count_ +=
                static_cast<std::uint32_t>(std::popcount(std::to_integer<unsigned>(bits)));
        }
    }
    switch (welcome.action) {
        case continue_:
            break;
        case catch_up:
            catch_up_ = true;
            [[fallthrough]];
        case initial:
        case resync:
            phase_ = welcome.resync_open ? Phase::open : Phase::awaits_fence;
            break;
        case reject:
            phase_ = Phase::rejected;
            break;
    }
}

Verdict DiskStream::judge(wire::FrameType type, Seq first, std::uint32_t count,
                          std::optional<std::uint32_t> follows) const {
    CW_ASSERT(raw(first) >= 1 && count >= 1);
    const auto or_discard = [this](Verdict nak) { return stopped_ ? Verdict::discard : nak; };
    if (phase_ == Phase::rejected) {
        return or_discard(Verdict::nak_quota);
    }
    const std::uint64_t below = raw(next_) - raw(first);  // Meaningful where first < next.
    if (first < next_ && count <= below) {
        return Verdict::duplicate;
    }
    const bool begins = type == wire::FrameType::resync_begin;
    if (phase_ == Phase::awaits_fence && (!begins || follows)) {
        return or_discard(Verdict::nak_generation);  // What is missing must be covered.
    }
    if (follows && *follows != pipeline::ordinal_of(received())) {
        return or_discard(Verdict::nak_gap);
    }
    const bool may_jump = begins && (untouched_ || (phase_ == Phase::awaits_fence && catch_up_));
    if (first == next_ || (may_jump && first > next_)) {
        return Verdict::accept;
    }
    return or_discard(Verdict::nak_gap);
}

void DiskStream::take(wire::FrameType type, Seq first, std::uint32_t count) {
    CW_ASSERT(judge(type, first, count) == Verdict::accept);
    next_ = advance(first, count);
    untouched_ = stopped_ = false;
    if (type == wire::FrameType::resync_begin) {
        phase_ = Phase::open;
        fence_ = first;
        forget_base();
    } else if (type == wire::FrameType::resync_end) {
        fence_ = Seq{};
        forget_base();
    }
}

void DiskStream::take_base(std::uint32_t ordinal) {
    const std::size_t at = ordinal / 8;
    if (at >= base_held_.size()) {
        base_held_.resize(at + 1);
    }
    const std::byte bit = std::byte{1} << (ordinal % 8);
    base_count_ += (base_held_[at] & bit) == std::byte{0} ? 1 : 0;
    base_held_[at] |= bit;
}

bool DiskStream::rewind(Seq expected) noexcept {
    if (raw(expected) == 0 || expected >= next_) {
        return false;
    }
    next_ = expected;
    stopped_ = true;
    if (fence_ >= expected) {  // The RESYNC_BEGIN itself has to come again.
        fence_ = Seq{};
        forget_base();
    }
    return true;
}

Seq DiskStream::committed() const noexcept {
    return std::min(committed_, received());
}

// What is committed is safe, whether or not the spool's own notice has come by yet. Never above
// what this session has received: an older session may have left more in flight.
Seq DiskStream::spooled() const noexcept {
    return std::min(std::max(spooled_, committed_), received());
}

void DiskStream::on_spooled(const pipeline::Spooled& notice) {
    if (notice.durable > spooled_) {
        spooled_ = notice.durable;
        news_ = true;
    }
    if (raw(notice.fence) != 0 && !notice.base_ordinals.empty()) {
        if (notice.fence != told_fence_) {  // An abandoned fence's ordinals mean nothing now.
            told_fence_ = notice.fence;
            base_spooled_.clear();
            base_committed_.clear();
        }
        base_spooled_.insert(base_spooled_.end(), notice.base_ordinals.begin(),
                             notice.base_ordinals.end());
        news_ = true;
    }
}

void DiskStream::on_committed(const pipeline::Committed::Disk& notice) {
    if (notice.committed > committed_) {
        committed_ = notice.committed;
        news_ = true;
    }
    const bool current = notice.fence == told_fence_ || raw(told_fence_) == 0;
    if (raw(notice.fence) != 0 && !notice.base_ordinals.empty() && current) {
        told_fence_ = notice.fence;
        base_committed_.insert(base_committed_.end(), notice.base_ordinals.begin(),
                               notice.base_ordinals.end());
        news_ = true;
    }
}

wire::Ack::Disk DiskStream::take_news(std::uint16_t slot, std::size_t ordinals_max) {
    wire::Ack::Disk out;
    out.slot = slot;
    out.received = received();
    out.spooled = spooled();
    out.committed = committed();
    out.fence = told_fence_;
    out.base_spooled = take_some(base_spooled_, ordinals_max);
    out.base_committed = take_some(base_committed_, ordinals_max - out.base_spooled.size());
    news_ = !base_spooled_.empty() || !base_committed_.empty();
    return out;
}

}  // namespace cw::ingest
