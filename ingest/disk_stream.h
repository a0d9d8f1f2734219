// DiskStream: the order of one disk's frames within one session, and what is to be acknowledged.
//
// Invariants: `next` never goes back except where the spool asks for a re-send; nothing is accepted
// but the frame that begins at `next`; committed <= spooled <= received in every acknowledgement.
// Thread-safety: none; belongs to its session.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"
#include "pipeline/messages.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace cw::ingest {

enum class Verdict : std::uint8_t {
    accept,
    duplicate,  // Wholly received before: dropped, acknowledged again.
    discard,    // The disk is stopped, and this is not the frame that resumes it.
    nak_gap,    // This and the following: the disk stops now.
    nak_generation,
    nak_quota,
};

class DiskStream {
public:
    DiskStream(const pipeline::DiskHello& hello, const pipeline::DiskWelcome& welcome);

    // A frame that consumes `count` sequences from `first`. Does not change the stream. `follows`:
    // of a RESYNC_BEGIN that resumes, what it says it follows (pipeline::ordinal_of).
    [[nodiscard]] Verdict judge(wire::FrameType type, Seq first, std::uint32_t count,
                                std::optional<std::uint32_t> follows = std::nullopt) const;
    // An accepted frame has been handed over.
    void take(wire::FrameType type, Seq first, std::uint32_t count);
    // So has a BASE of the open fence.
    void take_base(std::uint32_t ordinal);
    // Super-chunks that the server holds beneath the open fence, or that are on their way.
    [[nodiscard]] std::uint32_t base_held() const noexcept { return base_count_; }
    void stop() noexcept { stopped_ = true; }
    // Nothing of this disk is taken any more in this session.
    void reject() noexcept { phase_ = Phase::rejected; }
    // The spool wants everything from here again. False if that is not behind `next`.
    bool rewind(Seq expected) noexcept;
    // The spool takes no BASE of `fence`, which may be 0. True once, if it is the one that is open.
    bool refused(Seq fence) noexcept {
        return raw(fence) != 0 && fence == fence_ && std::exchange(refused_, fence) != fence;
    }
    void resize(std::uint64_t bytes) noexcept { size_bytes_ = bytes; }

    [[nodiscard]] const DiskId& id() const noexcept { return id_; }
    [[nodiscard]] Generation generation() const noexcept { return generation_; }
    [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
    [[nodiscard]] Seq next_seq() const noexcept { return next_; }
    [[nodiscard]] Seq received() const noexcept { return Seq{raw(next_) - 1}; }
    [[nodiscard]] Seq fence() const noexcept { return fence_; }  // 0: none open
    [[nodiscard]] bool stopped() const noexcept { return stopped_; }
    [[nodiscard]] bool rejected() const noexcept { return phase_ == Phase::rejected; }
    [[nodiscard]] bool awaits_fence() const noexcept { return phase_ == Phase::awaits_fence; }
    [[nodiscard]] Seq spooled() const noexcept;
    [[nodiscard]] Seq committed() const noexcept;

    // --- What the peer has not been told yet ---
    void on_spooled(const pipeline::Spooled& notice);
    void on_committed(const pipeline::Committed::Disk& notice);
    void tell_again() noexcept { news_ = true; }
    [[nodiscard]] bool has_news() const noexcept { return news_; }
    // The next acknowledgement; at most `ordinals_max` ordinals, the rest stays news.
    wire::Ack::Disk take_news(std::uint16_t slot, std::size_t ordinals_max);

private:
    void forget_base() noexcept {
        base_held_.clear();
        base_count_ = 0;
    }
    enum class Phase : std::uint8_t { open, awaits_fence, rejected };

    DiskId id_;
    Generation generation_;
    std::uint64_t size_bytes_;
    Phase phase_ = Phase::open;
    // The fence may lie above `next`: the agent freed what is between,
    bool catch_up_ = false;
    // or never used it, if this is the first frame (PROTOCOL.md, section 5: own sequences).
    bool untouched_ = true;
    bool stopped_ = false;
    bool news_ = false;
    Seq next_;
    Seq fence_{};
    Seq refused_{};         // Of which the agent was told.
    ByteVector base_held_;  // Bitmap, under `fence_`.
    std::uint32_t base_count_ = 0;
    Seq spooled_, committed_;
    Seq told_fence_{};  // Of the ordinals below.
    std::vector<std::uint32_t> base_spooled_, base_committed_;
};

}  // namespace cw::ingest
