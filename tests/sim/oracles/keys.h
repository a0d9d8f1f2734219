// A rotation of the vault's key ends, and nothing can be opened with the old key afterwards.
#pragma once

#include "base/error.h"
#include "base/ids.h"
#include "tests/sim/oracles/watch.h"

namespace cw::sim {

class KeyOracle {
public:
    explicit KeyOracle(Complain complain) : complain_(std::move(complain)) {}
    // What no store's bad day explains.
    void on_refused(const Error& error);
    void on_never_ending();
    // `opened`: the keys of the machine, with the key that was replaced.
    void check_replaced(const MachineId& machine, bool opened);
    Looks replaced = 0;

private:
    Complain complain_;
};

}  // namespace cw::sim
