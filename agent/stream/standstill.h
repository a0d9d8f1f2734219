// Standstill: all disks of a machine at one moment, and no writer kept waiting for it longer than a
// limit.
//
// All order locks are taken together or none: nobody waits for one with another in hand. While one
// is not to be had the gate holds who comes anew, so that those before them get done; the gate
// opens by itself when the time is over, also if the thread that wants the moment stands still.
// What happens while the locks are held touches memory only.
//
// Thread-safety: the agent's loop.
#pragma once

#include "agent/group/admission_gate.h"
#include "agent/stream/disk_capture.h"

#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace cw::agent {

class Standstill {
public:
    // `gate`: the one that the disks' writers pass; none where nobody else writes. If it is closed
    // already (a barrier of a group stands) its own time is the limit. All outlive this.
    Standstill(Clock& clock, AdmissionGate* gate, std::int64_t limit_ns);
    ~Standstill() { release(); }
    Standstill(const Standstill&) = delete;
    Standstill& operator=(const Standstill&) = delete;

    // Waits up to the limit. False: it was not attained, and nobody is held.
    bool hold(std::span<DiskCapture* const> disks);
    // False: the limit passed since hold() began. Whoever asks may have stood still himself.
    [[nodiscard]] bool in_time() const;
    // The disk that was waited for last; none: there was nothing to wait for.
    [[nodiscard]] const std::optional<std::size_t>& waited_for() const noexcept {
        return waited_for_;
    }
    // Since hold() began.
    [[nodiscard]] std::int64_t lasted_ns() const { return clock_.boot() - began_; }
    // Writers go on. How long they could not, at most.
    std::int64_t release();

private:
    bool try_all(std::span<DiskCapture* const> disks);

    Clock& clock_;
    AdmissionGate* const gate_;
    const std::int64_t limit_ns_;
    bool closed_here_ = false;
    Nanos began_{}, until_{};
    std::vector<std::unique_lock<std::mutex>> locks_;
    std::optional<std::size_t> waited_for_;
};

}  // namespace cw::agent
