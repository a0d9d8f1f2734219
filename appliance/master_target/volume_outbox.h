// VolumeOutbox: what a master target's stage has to tell, until the sink takes it.
//
// Thread-safety: none; the volume stage's thread.
#pragma once

#include "appliance/master_target/target_disk.h"
#include "egress/upload/ports.h"

#include <deque>
#include <map>
#include <string>
#include <vector>

namespace cw::appliance {

class VolumeOutbox {
public:
    explicit VolumeOutbox(upload::EngineSink& sink) : sink_(sink) {}  // Outlives the outbox.

    static constexpr std::size_t points_told_max = 256;  // As many as an agent keeps.

    // The answer to HELLO; its reactor is from now on the machine's. What became of the machine's
    // newest points is said again with it, after the points that `opened` names already: the word
    // of it may have been lost with a connection, or come when there was none.
    void welcome(pipeline::MachineOpened opened);
    // Said while the machine has a session, and again to its next HELLO.
    void committed(pipeline::Committed committed);
    // The next HELLO of the target's machine is answered with what the target needs.
    void end_session(const TargetDisk& target, const std::string& why);
    // A record that cannot be read back. The hole shows as a gap at the next one of this disk.
    void lost(const upload::DamagedRecords& damaged) { ended_.push_back(damaged); }
    void release(const std::vector<pipeline::Lsn>& lsns);

    // Offers everything; true: some of it was taken.
    bool flush();
    [[nodiscard]] bool empty() const noexcept {
        return release_.lsns.empty() && opened_.empty() && committed_.empty() && ended_.empty();
    }
    // Points wait to be told: take no more of them.
    [[nodiscard]] bool full() const noexcept;

private:
    struct Outgoing {
        std::uint32_t reactor = 0;
        pipeline::Committed committed;
    };

    upload::EngineSink& sink_;
    std::map<MachineId, std::uint32_t> reactors_;  // Of each machine's newest session.
    std::map<MachineId, std::deque<pipeline::PointStatus>> told_;  // Oldest first.
    pipeline::Release release_;
    std::deque<pipeline::MachineOpened> opened_;
    std::deque<Outgoing> committed_;
    std::deque<upload::DamagedRecords> ended_;
};

}  // namespace cw::appliance
