// One event of the history as one line of text, for the file of EventLog:
//
//   <checksum> <at> <raised|cleared> <code> <since> <count> <subject>⇥<detail>
//
// The checksum is the CRC-32C of all that stands behind its space, in eight hexadecimal digits;
// `at` and `since` are microseconds since 1970, `code` is a number of the table of errors. Control
// characters and backslashes of the texts are escaped, so that a hostile name cannot end a line.
//
// Pure functions, safe from any thread.
#pragma once

#include "base/conditions.h"

#include <string>
#include <string_view>

namespace cw::appliance {

inline constexpr std::size_t event_subject_max = 256, event_detail_max = 1024;  // Longer: cut.
inline constexpr std::size_t event_line_max = 4 * (event_subject_max + event_detail_max) + 128;

// With the end of the line.
std::string event_line(const ConditionEvent& event);
// Without it. Errors: record_corrupt; format_unsupported (a code that this version does not know).
Result<ConditionEvent> parse_event_line(std::string_view line);

}  // namespace cw::appliance
