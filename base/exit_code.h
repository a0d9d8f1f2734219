// The exit codes of every program, stable for scripts: 0 ok, 1 failed, 2 usage or configuration,
// 3 refused or unsafe, 4 not found, 5 unreachable.
#pragma once

#include "base/error.h"

namespace cw {

// Never 0.
constexpr int exit_code_of(Errc code) noexcept {
    switch (code) {
        case Errc::usage:
        case Errc::config_invalid:
            return 2;
        case Errc::file_exists:
        case Errc::in_use:
        case Errc::vault_exists:
        case Errc::target_unsafe:
        case Errc::target_switching:
        case Errc::fenced:
        case Errc::vault_rolled_back:
        case Errc::needs_restart:
        case Errc::identity_refused:
        case Errc::authz_denied:
        case Errc::certificate_revoked:
        case Errc::token_refused:
        case Errc::transition_refused:
        case Errc::resync_required:
        case Errc::not_ready:
        case Errc::source_unfrozen:
            return 3;
        case Errc::not_found:
        case Errc::point_not_found:
        case Errc::vault_missing:
            return 4;
        case Errc::unreachable:
        case Errc::connection_lost:
        case Errc::tls_failed:
        case Errc::blob_unavailable:
        case Errc::blob_throttled:
            return 5;
        default:
            return 1;
    }
}

}  // namespace cw
