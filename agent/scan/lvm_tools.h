// LvmTools: one of lvs, lvcreate and lvremove at a time, as a child process: no shell, an absolute
// path, an environment of our own, and never waited for: poll() asks.
//
// A tool that does not end in time is not killed: lvcreate may have suspended the volume, which
// only it can resume. Until it ends there is no other. Thread-safety: none.
#pragma once

#include "agent/child_process.h"
#include "base/net.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

struct LogicalVolume {
    std::string group, name;
    std::string attributes;  // lv_attr: "owi-aos---"
    std::string path;        // Of its device.
    std::string pool;        // Of a thin volume; else empty.
    std::vector<std::string> tags;

    [[nodiscard]] std::string full_name() const { return group + "/" + name; }
    // Of a snapshot: what it holds is whole, and can be read.
    [[nodiscard]] bool active() const;
};

class LvmTools {
public:
    // `directory` holds the tools; empty: where a system has them. Errors: snapshot_failed.
    static Result<LvmTools> find(const std::string& directory, Clock& clock,
                                 std::int64_t limit_ns = 30 * ns_per_s);
    LvmTools(LvmTools&& other) noexcept = default;
    LvmTools& operator=(LvmTools&&) = delete;
    ~LvmTools();  // What runs is left alone.

    // The volume `which` (VG/LV or a device), or all of them. Nothing runs.
    void list(const std::string& which);
    struct Snapshot {
        std::string name, tag, size;  // size: "10%" of the origin, or bytes; not for a thin one.
    };
    void create(const LogicalVolume& origin, const Snapshot& snapshot);
    void remove(const std::string& full_name);
    // What it printed, once it has ended. Errors: snapshot_failed, with what it complained of, or
    // that its time is over; it runs still then.
    std::optional<Result<std::string>> poll();
    [[nodiscard]] bool running() const noexcept { return child_.has_value(); }
    // A tool that was given up runs still.
    [[nodiscard]] bool stuck();

private:
    LvmTools(std::string directory, Clock& clock, std::int64_t limit_ns)
        : directory_(std::move(directory)), clock_(clock), limit_ns_(limit_ns) {}
    void run(std::vector<std::string> command);

    std::string directory_;
    Clock& clock_;
    std::int64_t limit_ns_;
    std::string tool_;
    std::optional<ChildProcess> child_, stuck_;
    std::optional<Error> trouble_;  // It could not even be started.
    Nanos deadline_{};
    Fd output_, complaints_;
};

// What list() made lvs print. Errors: snapshot_failed.
Result<std::vector<LogicalVolume>> parse_volumes(const std::string& printed);

}  // namespace cw::agent
