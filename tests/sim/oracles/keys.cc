#include "tests/sim/oracles/keys.h"

namespace cw::sim {

void KeyOracle::on_refused(const Error& error) {
    complain_("keys", "the rotation met " + to_string(error));
}

void KeyOracle::on_never_ending() {
    complain_("keys", "the rotation does not end");
}

void KeyOracle::check_replaced(const MachineId& machine, bool opened) {
    ++replaced;
    if (opened) {
        complain_("keys", "the key that was replaced still opens " + to_string(machine));
    }
}

}  // namespace cw::sim
