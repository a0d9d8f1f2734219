// VaultView: what the vault holds of a machine, for the control API: state, jobs, recovery points.
//
// Any thread. It waits for the vault, so there is one look at a time: control threads that all wait
// for a vault that does not answer would leave none for those who ask why.
#pragma once

#include "appliance/vault_access.h"

#include <mutex>
#include <string>

namespace cw::appliance {

class VaultView {
public:
    explicit VaultView(const config::Settings& settings)
        : settings_(settings), seams_(make_system_seams()) {}

    // JSON: as `causeway machines ID`, and `points`, oldest first. Errors: server_busy (another
    // look has not ended), usage (no machine's id), those of the vault and of Catalog::open.
    Result<std::string> machine(const std::string& id);

private:
    config::Settings settings_;
    SystemSeams seams_;  // Its own: a Disk belongs to one thread at a time.
    std::mutex mutex_;
};

}  // namespace cw::appliance
