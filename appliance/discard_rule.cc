#include "appliance/discard_rule.h"

#include <algorithm>

namespace cw::appliance {
namespace {

bool waits_for_a_person(const upload::MachineStatus& machine) {
    if (machine.mode != upload::MachineMode::waiting || !machine.trouble) {
        return false;
    }
    const Action action = action_of(machine.trouble->code);
    return action == Action::fenced || action == Action::stop || action == Action::repair;
}

bool waits_for_its_agent(const upload::MachineStatus& machine,
                         const std::vector<Condition>& standing) {
    return std::ranges::any_of(machine.disks, [&](const upload::DiskStatus& disk) {
        const std::string subject = "disk " + to_string(disk.disk);  // As the cache names it.
        return disk.damaged || std::ranges::any_of(standing, [&](const Condition& condition) {
                   return condition.code == Errc::spool_lost_durable &&
                          condition.subject == subject;
               });
    });
}

}  // namespace

Result<void> may_discard(const upload::MachineStatus& machine,
                         const std::vector<Condition>& standing) {
    const bool let_go =
        machine.mode == upload::MachineMode::fenced || machine.mode == upload::MachineMode::closed;
    const bool active = machine.mode == upload::MachineMode::active;
    if (let_go || waits_for_a_person(machine) ||
        (active && waits_for_its_agent(machine, standing))) {
        return {};
    }
    return fail(Errc::transition_refused,
                "the machine is " + std::string(upload::name_of(machine.mode)) +
                    " here: only what a fenced or closed one left is discarded, and what waits "
                    "for a repair by its agent");
}

}  // namespace cw::appliance
