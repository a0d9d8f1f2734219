// HrlSource: applies the replica logs that arrive in a directory to a disk image, in the order of
// their chain, each as a whole, and makes a recovery point after each.
//
// A log is read to its end before any of it is applied. While one is being applied the image is
// between two states, also after a crash: then there are no points until it is applied again, which
// comes to the same. A chain that forks or has a hole waits for people, or for the missing log.
// Passive: step() does bounded work. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/hrl/hrl_reader.h"
#include "agent/stream/disk_capture.h"
#include "agent/stream/replicator.h"

#include <map>
#include <optional>
#include <string>

namespace cw::agent {

class HrlSource {
public:
    static constexpr std::int64_t look_ns = ns_per_s, look_after_trouble_ns = 10 * ns_per_s;

    struct Options {
        std::string directory, state_path;
        std::optional<HrlId> after;  // Where state_path is not there yet: the image's last log.
        bool strict_header = false;
    };
    struct Context {  // All outlive the source.
        cw::Disk& disk;
        Replicator& replicator;
        DiskCapture& capture;
        Clock& clock;
    };
    // Errors: usage (neither `after` nor a state), record_corrupt (the state), io_error.
    static Result<std::unique_ptr<HrlSource>> open(Options options, Context context);

    bool step();
    // A log is half applied: no point may be made.
    [[nodiscard]] bool applying() const noexcept { return applying_; }
    // Why the next log is not applied. Errors: hrl_broken, io_error.
    [[nodiscard]] const std::optional<Error>& trouble() const noexcept { return trouble_; }
    [[nodiscard]] const HrlId& last() const noexcept { return last_; }
    [[nodiscard]] Nanos next_look() const noexcept { return look_at_; }

private:
    enum class Phase : std::uint8_t { looking, checking, copying, settling };
    struct Known {
        HrlId id{}, previous{};
    };
    HrlSource(Options options, Context context) : options_(std::move(options)), context_(context) {}
    Result<void> load();
    Result<void> store();
    // The log that continues the last one; nullopt: there is none yet.
    Result<std::optional<std::string>> find_next();
    Result<void> read_headers();
    [[nodiscard]] bool applied_before(const Known& log) const;
    Result<bool> work();
    Result<bool> read_some(bool write);
    Result<bool> settle();

    const Options options_;
    Context context_;
    Phase phase_ = Phase::looking;
    HrlId last_{};
    bool applying_ = false;
    std::map<std::string, Known> known_;  // Logs that were closed; they do not change.
    std::string name_;
    std::optional<HrlReader> reader_;
    std::optional<Error> trouble_;
    Nanos look_at_{};
};

}  // namespace cw::agent
