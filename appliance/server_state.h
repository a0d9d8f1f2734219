// What a server remembers in its state directory: who it is, and the newest manifest it saw of each
// machine. The latter is a freshness witness: recovery that meets an older chain says
// VAULT_ROLLED_BACK. Losing it weakens that check and nothing else.
#pragma once

#include "base/disk.h"
#include "base/ids.h"
#include "base/random.h"
#include "egress/vault/manifest.h"

#include <map>
#include <string>

namespace cw::appliance {

// Reads `directory`/server-id, or draws one and stores it durably. Errors: io_error, config_invalid
// (the file is damaged).
Result<ServerId> load_server_id(Disk& disk, Random& random, const std::string& directory);

// Where a server keeps its witnesses.
inline std::string witness_path(const std::string& state_dir) {
    return state_dir + "/witness";
}

// Used by one thread.
class WitnessFile {
public:
    explicit WitnessFile(std::string path) : path_(std::move(path)) {}
    // A missing file is an empty one; a damaged line is an error, and so is a file without lines.
    // Errors: config_invalid, io_error.
    Result<void> load(Disk& disk);
    [[nodiscard]] vault::ChainWitness of(const MachineId& machine) const;
    [[nodiscard]] const std::map<MachineId, vault::ChainWitness>& all() const { return witnesses_; }
    // Remembers the newer one; store() writes when something changed.
    void note(const MachineId& machine, const vault::ChainWitness& witness);
    Result<void> store(Disk& disk);

private:
    std::string path_;
    std::map<MachineId, vault::ChainWitness> witnesses_;
    bool changed_ = false;
};

}  // namespace cw::appliance
