// One line that says how protection goes: rewritten in place on a terminal, every 5 s elsewhere.
// As JSON: one object per second on standard output, for programs.
#pragma once

#include "agent/stream/replicator.h"

namespace cw::agent {

class ProgressLine {
public:
    enum class Form { none, text, json };
    ProgressLine(Clock& clock, Form form);
    void show(const Replicator::Status& status);
    void finish();
    // "live 1.2 GiB sent, 85 MiB/s, initial synchronisation 42 % (ETA 00:01:10), RPO 3 s"
    [[nodiscard]] std::string text(const Replicator::Status& status);

private:
    Clock& clock_;
    void show_json(const Replicator::Status& status);

    const Form form_;
    const bool terminal_;
    Nanos last_{}, printed_{};
    std::uint64_t last_sent_ = 0, last_done_ = 0;
    double rate_ = 0, sync_rate_ = 0;  // Bytes per second, smoothed.
};

}  // namespace cw::agent
