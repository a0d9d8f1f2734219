// The stable exit codes of the programs: 0 ok, 1 failed, 2 usage, 3 refused or unsafe, 4 not found,
// 5 unreachable.
#pragma once

#include "base/error.h"

namespace cw::agent {

constexpr int exit_code_of(Errc code) noexcept {
    switch (code) {
        case Errc::usage:
        case Errc::config_invalid:
            return 2;
        case Errc::target_unsafe:
        case Errc::identity_refused:
        case Errc::authz_denied:
        case Errc::resync_required:
        case Errc::source_unfrozen:
        case Errc::file_exists:
            return 3;
        case Errc::not_found:
        case Errc::point_not_found:
            return 4;
        case Errc::unreachable:
        case Errc::connection_lost:
            return 5;
        default:
            return 1;
    }
}

}  // namespace cw::agent
