// An operator's command that waits for work in the daemon.
#pragma once

#include "appliance/control_client.h"
#include "base/clock.h"

#include <optional>
#include <string>
#include <utility>

namespace cw::appliance {

// Asks again and again about work that goes on in the daemon, also in one that was started again
// meanwhile: a slow disk keeps it silent for longer than one question waits, which says nothing of
// the work.
class PatientQuestion {
public:
    PatientQuestion(ControlClient daemon, Clock& clock, std::int64_t silence_ns_max)
        : daemon_(std::move(daemon)),
          clock_(clock),
          silence_ns_max_(silence_ns_max),
          heard_(clock.boot()) {}
    // nullopt: no answer this time. Errors: unreachable (none for too long), the daemon's own.
    Result<std::optional<std::string>> get(const std::string& name);
    [[nodiscard]] bool silent() const noexcept { return silent_; }  // At the last question.

private:
    ControlClient daemon_;
    Clock& clock_;
    std::int64_t silence_ns_max_;
    Nanos heard_;
    bool silent_ = false;
};

}  // namespace cw::appliance
