#include "appliance/protection_state.h"

#include <algorithm>
#include <iterator>
#include <vector>

namespace cw::appliance {
namespace {

std::uint64_t disk_bytes(const std::vector<upload::DiskStatus>& disks) {
    std::uint64_t bytes = 0;
    for (const upload::DiskStatus& disk : disks) {
        bytes += disk.size_bytes;
    }
    return bytes;
}

}  // namespace

std::string_view name_of(Protection protection) noexcept {
    switch (protection) {
        case Protection::unprotected:
            return "unprotected";
        case Protection::initial_sync:
            return "initial-sync";
        case Protection::resyncing:
            return "resyncing";
        case Protection::protected_:
            return "protected";
        case Protection::degraded:
            return "degraded";
        case Protection::resync_required:
            return "resync-required";
    }
    return "";
}

ProtectionView protection_of(const upload::MachineStatus& machine, const AgentStatus& agent) {
    std::vector<upload::DiskStatus> disks;
    std::ranges::copy_if(machine.disks, std::back_inserter(disks),
                         [](const upload::DiskStatus& disk) { return !disk.left_out; });
    if (std::ranges::any_of(disks, &upload::DiskStatus::damaged)) {
        return {Protection::resync_required, "writes were damaged in the cache"};
    }
    if (!agent.required.empty()) {
        return {Protection::resync_required, agent.required.begin()->second};
    }
    if (agent.connected && agent.mode != wire::ReplicationMode::data) {
        const std::uint64_t all = disk_bytes(disks);
        const bool half = all > 0 && agent.backlog_bytes >= all - all / 2;
        return {half ? Protection::resync_required : Protection::degraded, agent.reason};
    }
    const auto syncing = std::ranges::find_if(
        disks, [](const upload::DiskStatus& disk) { return raw(disk.open_fence) != 0; });
    if (syncing != disks.end()) {
        const auto why = agent.resyncs.find(syncing->disk);
        return {machine.points > 0 ? Protection::resyncing : Protection::initial_sync,
                why == agent.resyncs.end() ? "" : why->second};
    }
    const bool all = !disks.empty() && std::ranges::all_of(disks, &upload::DiskStatus::protected_);
    return {all ? Protection::protected_ : Protection::unprotected, {}};
}

}  // namespace cw::appliance
