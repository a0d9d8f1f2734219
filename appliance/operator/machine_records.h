// MachineRecords: the machines' states and jobs in the vault, control/<machine>/state, changed only
// under the condition that nobody else has changed them meanwhile. Operators' programs and daemons
// of any host see the same.
//
// Blocking. Thread-safety: none; belongs to the store's thread. Lifetime: the store outlives it.
#pragma once

#include "appliance/operator/machine_state.h"
#include "appliance/operator/signed_record.h"

#include <functional>
#include <optional>

namespace cw::appliance {

class MachineRecords {
public:
    // Without a signer it only reads.
    MachineRecords(blob::BlobStore& store, const vault::VaultIdentity& vault,
                   std::optional<vault::ServerSigner> signer = std::nullopt)
        : store_(store), vault_(vault), signer_(std::move(signer)) {}

    // A machine without a record is protected. Errors: those of the store and of open_record.
    Result<MachineRecord> load(const MachineId& machine);

    // Loads, lets `change` work on it, stores under the condition that it is still the same, and
    // begins again if it is not: `change` may run several times and must not mind having run on a
    // version that was stored although no answer came.
    // Errors: those of `change`, of the store; transition_refused when others are always first.
    Result<MachineRecord> update(const MachineId& machine,
                                 const std::function<Result<void>(MachineRecord&)>& change);

private:
    blob::BlobStore& store_;
    vault::VaultIdentity vault_;
    std::optional<vault::ServerSigner> signer_;
};

blob::BlobName machine_record_blob(const MachineId& machine);

}  // namespace cw::appliance
