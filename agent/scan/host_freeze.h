// HostFreeze: points of disks whose writers run on this host and write through us: a pre-hook and
// FIFREEZE, the cut, and all of it undone. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/scan/freezer.h"
#include "agent/scan/source_freeze.h"

namespace cw::agent {

class HostFreeze final : public SourceFreeze {
public:
    // `freezer` outlives it, and is used by nobody else. Begins with what a killed agent owes.
    explicit HostFreeze(Freezer& freezer);

    [[nodiscard]] bool able() const noexcept override { return freezer_.can_freeze(); }
    [[nodiscard]] State state() const noexcept override;
    void begin() override { freezer_.begin_freeze(); }
    State step() override;
    void thaw() override { freezer_.begin_thaw(); }
    // Errors: hook_failed, source_unfrozen.
    [[nodiscard]] const std::optional<Error>& error() const noexcept override {
        return freezer_.error();
    }
    [[nodiscard]] std::optional<Error> hindrance() const override;
    [[nodiscard]] Errc unfrozen() const noexcept override { return Errc::source_unfrozen; }
    [[nodiscard]] std::string summary() const override { return freezer_.summary(); }

private:
    Freezer& freezer_;
};

}  // namespace cw::agent
