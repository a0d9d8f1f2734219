// Whether what a process server holds of a machine may be given up at an operator's word.
// Thread-safety: values and pure functions.
#pragma once

#include "base/conditions.h"
#include "egress/upload/status.h"

#include <vector>

namespace cw::appliance {

// Yes, if the machine is another server's or was closed, if it cannot be opened before somebody
// acts, or if the cache lost something of it that only its agent could bring again. Anything else
// is on its way to the vault: transition_refused. `standing`: the server's conditions.
Result<void> may_discard(const upload::MachineStatus& machine,
                         const std::vector<Condition>& standing);

}  // namespace cw::appliance
