// After the service has refused a credential, everybody who uses it would only be refused as well:
// one request, every 30 seconds, finds out for all stores of an account whether it is taken again.
// Who asks while it is under way waits for what becomes of it; who asks in between is told what it
// was told, without a request. So nobody asks more often because more machines are protected.
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <mutex>
#include <optional>

namespace cw::blob {

inline constexpr std::int64_t credential_probe_ns = 30 * ns_per_s;

// Thread-safe. `who`: the store that asks; it calls leave() before it is gone.
class CredentialGate {
public:
    enum class Pass : std::uint8_t {
        go,
        probe,  // This one alone: end() must be told how it went, whatever becomes of it.
        wait,   // A probe is under way: ask again.
        fail,   // No probe is due: failure().
    };
    Pass ask(const void* who, Nanos now);
    [[nodiscard]] Error failure() const;

    // The service refused a request, and there is no other credential to try with. `prober`: whose
    // probe that was; null if it was none.
    void refused(const void* prober, Error error, Nanos now);
    // Refused, but a fresh credential may help. True: `who` tries it, as the probe; else somebody
    // is at it, or it was refused as well: ask().
    bool try_fresh(const void* who);
    // The probe of `who`, if it has one, ended without a refusal. `accepted`: the service took the
    // credential; else nothing is known, and the next who asks is the probe.
    void end(const void* who, bool accepted);
    void leave(const void* who) { end(who, false); }

private:
    mutable std::mutex mutex_;
    std::optional<Error> failure_;  // Closed, since this.
    const void* prober_ = nullptr;
    Nanos due_{};  // The next probe.
};

}  // namespace cw::blob
