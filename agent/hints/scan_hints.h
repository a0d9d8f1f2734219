// ScanHints: what hints are to the scans of one disk. They narrow a scan, they never replace it: at
// first, every so often, after a loss and after the disk lost its place everything is read; and a
// full scan that finds a change that no hint named ends them. Thread-safety: none; the agent's
// loop.
#pragma once

#include "agent/hints/dirty_hints.h"
#include "base/error.h"

#include <memory>
#include <string>

namespace cw::agent {

class ScanHints {
public:
    struct Report {
        bool on = false;
        std::string reason;                              // Why not.
        std::uint64_t narrow_scans = 0, full_scans = 0;  // Those that were whole.
        std::uint64_t last_bytes = 0;                    // Read by the last one of them.
    };
    // Without hints every scan is full; the error says why there are none.
    ScanHints(Result<std::unique_ptr<DirtyHints>> hints, std::int64_t full_every_ns, Clock& clock);

    // A scan begins: what was written before has reached the disk. See HintLedger.
    void begin(std::uint64_t fences);
    [[nodiscard]] const HintLedger& ledger() const noexcept { return ledger_; }
    void read(std::uint64_t bytes) noexcept { bytes_ += bytes; }
    // A still view was found to differ here from what the last scan saw.
    void changed(std::uint64_t block) {
        if (!ledger_.foretold(block)) {
            unforetold_.add_range(block * map_block_bytes, map_block_bytes);
        }
    }
    void end(bool whole);
    [[nodiscard]] const Report& report() const noexcept { return report_; }

private:
    void judge();

    std::unique_ptr<DirtyHints> hints_;
    HintLedger ledger_;
    Clock& clock_;
    std::uint64_t bytes_ = 0;
    BlockSet unforetold_;  // By the hints that the present scan began with.
    Report report_;
};

}  // namespace cw::agent
