// What the fence that a RESYNC_BEGIN opens covers, and where in a history it may therefore stand.
//
// initial and resync cover every block, so they may stand anywhere. The others cover what changed
// since a certain record, and are worth nothing where that record is missing; the record's
// `ordinal` says which it is. For resume the agent says so: the last before nothing could be
// logged. For catch-up the server that takes it notes what it had told the agent: where the history
// ends elsewhere by now, another server has taken what a copy of the machine sent meanwhile.
#pragma once

#include "pipeline/record.h"

namespace cw::pipeline {

// Values: wire::ResyncKind.
inline constexpr std::uint64_t resync_kind_catch_up = 3, resync_kind_resume = 4;

// How `ordinal` names a sequence: its low half. For a hole to be overlooked it would have to be as
// long as a multiple of 2^32 sequences.
constexpr std::uint32_t ordinal_of(Seq last) noexcept {
    return static_cast<std::uint32_t>(raw(last));
}

// Whether a fence that resumes stands right behind what it says it follows; true for other kinds.
constexpr bool resumes_at(const RecordHeader& begin, Seq last) noexcept {
    return resync_kind_of(begin) != resync_kind_resume || begin.ordinal == ordinal_of(last);
}

// Whether the fence that `begin` opens brings all that is missing above `last`.
constexpr bool covers_above(const RecordHeader& begin, Seq last) noexcept {
    const std::uint64_t kind = resync_kind_of(begin);
    return (kind != resync_kind_catch_up && kind != resync_kind_resume) ||
           begin.ordinal == ordinal_of(last);
}

}  // namespace cw::pipeline
