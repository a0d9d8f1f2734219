// StatusBoard: where the stages leave what people may see of them. Thread-safe.
#pragma once

#include "egress/upload/status.h"

#include <atomic>
#include <map>
#include <mutex>

namespace cw::upload {

// What assembly knows of a machine.
struct AssemblyStatus {
    std::uint64_t backlog_bytes = 0, backlog_records = 0;
    std::uint64_t uploaded_bytes = 0, coalesced_bytes = 0;
    std::uint32_t lanes_active = 0, lanes_waiting = 0;
    std::map<DiskId, std::pair<Seq, bool>> disks;  // Assembled; damaged.
};
struct LaneStatus {
    std::uint64_t bandwidth_limit = 0;
    std::uint32_t connections_used = 0, connections_max = 0;
    std::size_t jobs_running = 0;
};

// How far a drain has come; also what the stages are asked to do.
enum class DrainMode : std::uint8_t { none, keep, commit };

class StatusBoard {
public:
    // One stage each replaces its whole part.
    void set_machines(std::vector<MachineStatus> machines);
    void set_assembly(std::map<MachineId, AssemblyStatus> assembly, LaneStatus lanes);
    [[nodiscard]] EngineStatus read() const;

    std::atomic<DrainMode> drain{DrainMode::none};
    // Nothing is left to do for the drain, as far as this stage knows.
    std::atomic<bool> assembly_quiet{false}, publish_quiet{false};
    [[nodiscard]] bool drained() const noexcept {
        return drain.load() != DrainMode::none && assembly_quiet.load() && publish_quiet.load();
    }

private:
    mutable std::mutex mutex_;
    std::vector<MachineStatus> machines_;
    std::map<MachineId, AssemblyStatus> assembly_;
    LaneStatus lanes_;
};

}  // namespace cw::upload
