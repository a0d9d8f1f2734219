#include "egress/upload/status_board.h"

namespace cw::upload {

std::string_view name_of(MachineMode mode) noexcept {
    switch (mode) {
        case MachineMode::waiting:
            return "waiting";
        case MachineMode::opening:
            return "opening";
        case MachineMode::active:
            return "active";
        case MachineMode::fenced:
            return "fenced";
        case MachineMode::closed:
            return "closed";
    }
    return "unknown";
}

void StatusBoard::set_machines(std::vector<MachineStatus> machines) {
    const std::scoped_lock lock(mutex_);
    machines_ = std::move(machines);
}

void StatusBoard::set_assembly(std::map<MachineId, AssemblyStatus> assembly, LaneStatus lanes) {
    const std::scoped_lock lock(mutex_);
    assembly_ = std::move(assembly);
    lanes_ = lanes;
}

EngineStatus StatusBoard::read() const {
    EngineStatus out;
    const std::scoped_lock lock(mutex_);
    out.machines = machines_;
    for (const auto& [id, part] : assembly_) {
        MachineStatus* machine = nullptr;
        for (MachineStatus& known : out.machines) {
            machine = known.machine == id ? &known : machine;
        }
        if (machine == nullptr) {  // Records wait for a machine that nobody has opened yet.
            machine = &out.machines.emplace_back();
            machine->machine = id;
        }
        machine->backlog_bytes = part.backlog_bytes;
        machine->backlog_records = part.backlog_records;
        machine->uploaded_bytes = part.uploaded_bytes;
        machine->coalesced_bytes = part.coalesced_bytes;
        machine->lanes_active = part.lanes_active;
        machine->lanes_waiting = part.lanes_waiting;
        for (DiskStatus& disk : machine->disks) {
            if (const auto at = part.disks.find(disk.disk); at != part.disks.end()) {
                disk.assembled = at->second.first;
                disk.damaged = at->second.second;
            }
        }
        out.backlog_bytes += part.backlog_bytes;
        out.backlog_records += part.backlog_records;
    }
    out.bandwidth_limit = lanes_.bandwidth_limit;
    out.connections_used = lanes_.connections_used;
    out.connections_max = lanes_.connections_max;
    out.jobs_running = lanes_.jobs_running;
    out.drained = drained();
    return out;
}

}  // namespace cw::upload
