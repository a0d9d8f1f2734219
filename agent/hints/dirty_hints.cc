#include "agent/hints/dirty_hints.h"

namespace cw::agent {

void HintLedger::add(const DirtyHints::Taken& taken) {
    due_.merge(taken.blocks);
    proven_ = proven_ && taken.complete;
}

void HintLedger::begin(Nanos now, std::uint64_t fences, const DirtyHints::Taken& taken) {
    add(taken);
    proven_ = proven_ && fences == fences_at_full_;
    narrow_ = proven_ && now - full_at_ < full_every_ns_;
    checking_ = proven_ && !narrow_;
    began_ = now;
    fences_ = fences;
}

std::uint32_t HintLedger::next(std::uint32_t ordinal, std::uint32_t end) const {
    if (!narrow_) {
        return std::min(ordinal, end);
    }
    const auto it = due_.words().lower_bound(ordinal);
    return it == due_.words().end() ? end : std::min(it->first, end);
}

void HintLedger::end(bool whole) {
    if (!whole) {
        return;  // What was due stays so, and a full scan is still owed.
    }
    due_.clear();
    if (!narrow_) {
        proven_ = true;
        full_at_ = began_;
        fences_at_full_ = fences_;
    }
}

}  // namespace cw::agent
