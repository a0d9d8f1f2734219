// ModeReport: which mode the whole machine is in — that of its worst disk — and when the server is
// to be told: at once when it changes, and every few seconds while it is not DATA.
// Thread-safety: none; the agent's loop.
#pragma once

#include "agent/stream/disk_capture.h"
#include "base/clock.h"
#include "ingest/wire/messages.h"

#include <string>

namespace cw::agent {

class ModeReport {
public:
    // Collects what the disks say, and what waits in the queue.
    class Sum {
    public:
        explicit Sum(std::uint64_t queued_bytes) { mode_.backlog_bytes = queued_bytes; }
        void add(const DiskCapture::Position& disk);
        [[nodiscard]] wire::Mode done() &&;

    private:
        wire::Mode mode_{wire::ReplicationMode::data, 0, {}};
        std::string_view why_;
    };

    // True if the mode is another than before, or its reason.
    bool update(wire::Mode now);
    [[nodiscard]] const wire::Mode& now() const noexcept { return now_; }

    // A server takes an agent of which it has heard nothing else to be in DATA.
    void session_began() noexcept {
        begun_ = true;
        told_ = wire::ReplicationMode::data;
    }
    // There was a session.
    [[nodiscard]] bool begun() const noexcept { return begun_; }
    // When it is to be told next; INT64_MAX: when something changes.
    [[nodiscard]] Nanos due() const noexcept;
    void told(Nanos at) noexcept {
        told_ = now_.mode;
        told_at_ = at;
    }

private:
    wire::Mode now_{wire::ReplicationMode::data, 0, {}};
    wire::ReplicationMode told_ = wire::ReplicationMode::data;
    Nanos told_at_{};
    bool begun_ = false;
};

}  // namespace cw::agent
