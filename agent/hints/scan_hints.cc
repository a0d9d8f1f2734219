#include "agent/hints/scan_hints.h"

#include "base/log.h"

#include <utility>

namespace cw::agent {

ScanHints::ScanHints(Result<std::unique_ptr<DirtyHints>> hints, std::int64_t full_every_ns,
                     Clock& clock)
    : ledger_(full_every_ns), clock_(clock) {
    report_.on = hints.has_value();
    if (hints) {
        hints_ = std::move(*hints);
    } else {
        report_.reason = hints.error().detail;
    }
}

void ScanHints::begin(std::uint64_t fences) {
    bytes_ = 0;
    unforetold_.clear();
    ledger_.begin(clock_.boot(), fences, hints_ ? hints_->take() : DirtyHints::Taken{{}, false});
}

void ScanHints::end(bool whole) {
    ledger_.end(whole);
    if (!whole) {
        return;
    }
    ++(ledger_.narrow() ? report_.narrow_scans : report_.full_scans);
    report_.last_bytes = bytes_;
    if (hints_ && !unforetold_.empty()) {
        judge();
    }
}

// What changed under the scan after all, because nothing kept it really still, is hinted by now.
void ScanHints::judge() {
    const DirtyHints::Taken later = hints_->take();
    for (const auto& [ordinal, mask] : later.blocks.words()) {
        unforetold_.remove_mask(ordinal, mask);
    }
    if (later.complete && !unforetold_.empty()) {
        report_.on = false;
        report_.reason = "a full scan found " + std::to_string(unforetold_.bytes()) +
                         " changed bytes that no hint had named: scans are full from now on";
        log_error("agent.hints.missed", {{"bytes", unforetold_.bytes()}});
        hints_.reset();
    }
    ledger_.add(later);
}

}  // namespace cw::agent
