// Site records: what a master target remembers of operators' work. It has no vault; states of
// machines, jobs, proofs and runs of plans are kept in a vault of records only, in the state
// directory, with a key of its own that certifies who signs them. To the verbs it is a vault.
#pragma once

#include "appliance/vault_access.h"

#include <vector>

namespace cw::appliance {

[[nodiscard]] bool is_master_target(const config::Settings& settings) noexcept;

// The settings whose vault is where records are kept: of a master target `<state_dir>/records`;
// of any other role as given.
config::Settings with_site_records(config::Settings settings);

// What went wrong with them, in a master target's words: it has no vault that could be full, and no
// [security] kek_file. Of any other role, and any other error, as given.
Error of_site_records(Error error, const config::Settings& settings);

// Makes them unless they are there; the master target's daemon does at its start, so that they
// belong to its user. Errors: those of create_vault_access().
Result<void> make_site_records(const config::Settings& settings, SystemSeams& seams);

// Machines with a [[target]], in their order. Errors: usage.
Result<std::vector<MachineId>> machines_with_targets(const config::Settings& settings);

}  // namespace cw::appliance
