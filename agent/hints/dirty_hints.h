// DirtyHints: which blocks of a disk were written, as somebody who watches it says: a scan that has
// such hints reads these first and only. A hint may be too much, never too little: whoever cannot
// promise that says so. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/scan/block_set.h"
#include "base/clock.h"

namespace cw::agent {

class DirtyHints {
public:
    virtual ~DirtyHints() = default;
    struct Taken {
        BlockSet blocks;       // Written since the last take(), or under way then.
        bool complete = true;  // False: something was written that is not among them.
    };
    // A write that completed before the call is in this answer or in an earlier one.
    virtual Taken take() = 0;
};

// HintLedger: what the next scan of a disk has to read, by the hints and by what scans did with
// them. Without hints, and before anything is proven, that is everything.
class HintLedger {
public:
    explicit HintLedger(std::int64_t full_every_ns) : full_every_ns_(full_every_ns) {}

    // A scan begins. `fences`: how often the disk has lost its place so far; what was read beneath
    // a fence is compared in whole afterwards.
    void begin(Nanos now, std::uint64_t fences, const DirtyHints::Taken& taken);
    // The present scan reads only what hints name.
    [[nodiscard]] bool narrow() const noexcept { return narrow_; }
    // Blocks of a super-chunk that the present scan reads.
    [[nodiscard]] std::uint64_t mask(std::uint32_t ordinal) const {
        return narrow_ ? due_.mask(ordinal) : ~std::uint64_t{0};
    }
    // The first super-chunk from `ordinal` on with something to read, or `end`.
    [[nodiscard]] std::uint32_t next(std::uint32_t ordinal, std::uint32_t end) const;
    // A full scan found this block changed since the scan before. False: no hint said so.
    [[nodiscard]] bool foretold(std::uint64_t block) const {
        return !checking_ || due_.test(block);
    }
    // Hints between two scans.
    void add(const DirtyHints::Taken& taken);
    // The scan ended; `whole`: everything that it had to read was read and logged.
    void end(bool whole);

private:
    const std::int64_t full_every_ns_;
    BlockSet due_;         // Hinted, and not read by a whole scan since.
    bool proven_ = false;  // All that changed since the last whole scan is due.
    bool narrow_ = false, checking_ = false;
    Nanos began_{}, full_at_{};
    std::uint64_t fences_ = 0, fences_at_full_ = 0;
};

}  // namespace cw::agent
