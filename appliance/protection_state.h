// Where a machine stands on its way to being protected, in the words that people know from such
// systems. Worked out from what the engine and the machine's agent say; nothing is kept.
#pragma once

#include "appliance/agent_watch.h"
#include "egress/upload/status.h"

#include <string>
#include <string_view>

namespace cw::appliance {

enum class Protection : std::uint8_t {
    unprotected,      // No disk has been synchronised, and none is being.
    initial_sync,     // Its disks are sent for the first time.
    resyncing,        // They are compared, or caught up with, after a gap.
    protected_,       // Every write is sent.
    degraded,         // The agent only notes what changes: it cannot send as much as is written.
    resync_required,  // As much as half of the disks has changed meanwhile, or they are damaged.
};
// "initial-sync" …
std::string_view name_of(Protection protection) noexcept;

struct ProtectionView {
    Protection state = Protection::unprotected;
    std::string reason;  // Why it is degraded or must be compared; else empty.
};
ProtectionView protection_of(const upload::MachineStatus& machine, const AgentStatus& agent);

}  // namespace cw::appliance
