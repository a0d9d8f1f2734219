// What the fence that a RESYNC_BEGIN opens covers, and where in a history it may therefore stand.
//
// initial and resync cover every block. catch_up covers what changed since the end of the history
// as the agent was told it, and so the server that takes it notes that end in the record's
// `ordinal`, as the agent does for resume (record.h): where the history ends elsewhere by now,
// records are missing, or another server has taken what a copy of the machine sent meanwhile.
// Values: wire::ResyncKind.
#pragma once

#include "pipeline/record.h"

namespace cw::pipeline {

inline constexpr std::uint64_t resync_kind_catch_up = 3;

// Whether the fence that `begin` opens brings all that is missing above `last`.
constexpr bool covers_above(const RecordHeader& begin, Seq last) noexcept {
    return resync_kind_of(begin) == resync_kind_catch_up ? begin.ordinal == followed_by_resume(last)
                                                         : may_follow(begin, last);
}

}  // namespace cw::pipeline
