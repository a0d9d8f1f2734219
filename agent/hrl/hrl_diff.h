// What changed between two images, as a replica log: an epoch that any reader of [MS-HRL] can
// apply.
#pragma once

#include "base/clock.h"
#include "base/disk.h"
#include "base/random.h"

#include <optional>
#include <string>

namespace cw::agent {

struct HrlDiffRequest {
    std::string from, to;  // Images of one size.
    std::string output;
    std::optional<std::string> after;  // The log that this one continues.
};
// Returns how many writes the log has. Errors: not_found, size_mismatch, hrl_broken (`after`),
// file_exists (output), io_error.
Result<std::uint64_t> write_hrl_diff(const HrlDiffRequest& request, Disk& disk, Clock& clock,
                                     Random& random);

}  // namespace cw::agent
