// What recovery is at a second site only: its targets themselves become a point.
#pragma once

#include "appliance/cli/cli.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::appliance {

// Which points of a machine could be switched to if it had to be now: reads, beside the daemon,
// what a switch of each target would read. Errors: not_found (no such target), record_corrupt
// (a point is not whole), those of the control socket.
Result<void> target_verify(Cli& cli, const std::string& machine);

// Every target of the machine becomes the point, in place; returns when they are. Said again, it
// goes on with what was begun. `named`: whether whoever says this has said which point; else it is
// what every target can become of the newest, or of those before a time.
// Errors: target_switching (another point was chosen), and what refuses or stops a target;
// transition_refused (by the machine's state; a target was given up meanwhile; or the point is not
// named, and a target is one that no failover has chosen); cancelled (a signal: the targets become
// the point all the same).
Result<void> target_failover(Cli& cli, const OpenedCatalog& opened, const vault::PointEntry& point,
                             bool named);

// Targets that are not what the machine's state says. Of one that is protected: some have become a
// point, or become one (a failover in place that never came to its end, or `causeway target
// switch`), and take no writes. Of one that is failed over in place: some are not that point any
// more (an `undo-failover` that never came to its end).
struct HalfFailover {
    std::vector<SwitchedTarget> targets;  // Those that are a point, or become one.
    std::string what, next;               // For people; the commands that end it.
};
// Of `record` as_it_stands(). nullopt: there is none. Errors: those of Site::switched_targets().
Result<std::optional<HalfFailover>> half_failover(const OpenedCatalog& opened,
                                                  const MachineRecord& record);

// For verbs that are of a vault alone. Errors: usage at a master target, with what there is
// instead.
Result<void> check_has_vault(Cli& cli, const std::string& instead);

}  // namespace cw::appliance
