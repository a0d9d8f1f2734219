// Who this machine is: the SAN URI of its own certificate, as the server will read it.
#pragma once

#include "base/tls.h"

namespace cw::agent {

// Errors: tls_failed, certificate_expired, identity_refused (not a machine's certificate).
Result<MachineId> own_machine_id(const TlsFiles& files);
// The same machine and name give the same disk, also after the state directory was lost.
DiskId disk_id_of(const MachineId& machine, std::string_view disk_name);

}  // namespace cw::agent
