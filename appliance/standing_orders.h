// StandingOrders: what operators have ordered of this server and what outlasts a restart: disks
// that are to be compared with the vault again, and machines that were moved to another server.
//
// Kept in a file of one line per order; every change is durable before it is answered.
// Thread-safety: all functions from any thread.
#pragma once

#include "base/clock.h"
#include "base/disk.h"
#include "base/ids.h"

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cw::appliance {

class StandingOrders {
public:
    // `disk` outlives it and is used by nobody else: under the lock, from whatever thread.
    StandingOrders(Disk& disk, std::string path) : disk_(disk), path_(std::move(path)) {}
    // A missing file is an empty one. Errors: config_invalid (damaged), io_error.
    Result<void> load();

    // --- Resync ---
    // From `at` on, the disk's next HELLO is answered with a new history. Replaces an earlier
    // order. `reason` is for people. Errors: io_error.
    Result<void> order_resync(const MachineId& machine, const DiskId& disk, WallMicros at,
                              std::string_view reason);
    // The same, unless there is an order already: that one stands, and if it is due its session
    // ends again. When it is due. Errors: io_error.
    Result<WallMicros> require_resync(const MachineId& machine, const DiskId& disk, WallMicros at,
                                      std::string_view reason, WallMicros now);
    // Why, if it is due.
    [[nodiscard]] std::optional<std::string> resync_due(const MachineId& machine,
                                                        const DiskId& disk, WallMicros now) const;
    // The agent was told. Errors: io_error; it is done all the same.
    Result<void> resync_begun(const MachineId& machine, const DiskId& disk);
    // The machine is another server's now: so are its resyncs. Errors: io_error.
    Result<void> forget_resyncs(const MachineId& machine);
    // Machines with an order that has become due since the last call: their sessions must end.
    std::vector<MachineId> take_due(WallMicros now);

    // --- Move ---
    // The machine is not taken here any more. `to` is for people: see check_server_name(). Errors:
    // io_error.
    Result<void> move_away(const MachineId& machine, const std::string& to);
    Result<void> take_back(const MachineId& machine);
    [[nodiscard]] std::optional<std::string> moved_to(const MachineId& machine) const;

    // Writes what could not be written before, if there is any. Errors: io_error; what was ordered
    // since holds as long as the process lives.
    Result<void> save();

private:
    struct Resync {
        WallMicros at{};
        std::string reason;
        bool told = false;  // Its session was ended.
    };
    // With mutex_.
    Result<void> store();
    Result<void> read_line(std::string_view line);

    Disk& disk_;
    const std::string path_;
    mutable std::mutex mutex_;
    std::map<std::pair<MachineId, DiskId>, Resync> resyncs_;
    std::map<MachineId, std::string> moved_;
    bool unsaved_ = false;  // The file lacks the newest change.
};

// 1 to 128 printable characters without a space. Errors: usage.
Result<void> check_server_name(std::string_view name);

}  // namespace cw::appliance
