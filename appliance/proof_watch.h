// ProofWatch: raises PROOF_OVERDUE for machines whose newest proven point is older than allowed, or
// that were never proven. It reads the machines' records in the vault, where drills write, from
// whatever host they were run.
#pragma once

#include "appliance/operator/machine_records.h"
#include "appliance/standing_trouble.h"
#include "appliance/vault_access.h"
#include "base/conditions.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace cw::appliance {

// Which of the machines' proofs are overdue, by their records.
// Thread-safety: none; its owner's.
class OverdueProofs {
public:
    // `conditions` outlives it.
    explicit OverdueProofs(Conditions& conditions) : conditions_(conditions) {}
    // One look at these machines. `limit_us` 0: nothing is overdue. Of a record that cannot be read
    // PROOF_OVERDUE is left as it stands; one that is damaged, or of a newer program, is a
    // condition of its own, until it can be read.
    void look(const std::vector<MachineId>& machines, MachineRecords& records,
              std::int64_t limit_us, WallMicros now);

private:
    Conditions& conditions_;
    std::map<MachineId, StandingTrouble> unreadable_;
};

// Looks every minute on a thread of its own.
class ProofWatch {
public:
    ProofWatch(const config::Settings& settings, Conditions& conditions);
    ~ProofWatch();
    ProofWatch(const ProofWatch&) = delete;
    ProofWatch& operator=(const ProofWatch&) = delete;
    void set_limit_ms(std::uint64_t limit_ms);  // Any thread; looks at once.

private:
    void run();

    config::Settings settings_;
    SystemSeams seams_;  // Its own: a Disk belongs to one thread.
    OverdueProofs proofs_;
    std::mutex mutex_;
    std::uint64_t limit_ms_;
    std::condition_variable wake_;
    bool stopping_ = false, changed_ = false;
    std::jthread thread_;  // Last: it uses the rest.
};

}  // namespace cw::appliance
