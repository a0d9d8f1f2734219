// What the contract suite needs from an implementation under test: a fresh, empty vault and a way
// to move the time its leases count in.
#pragma once

#include "egress/blob/store.h"

#include <functional>
#include <memory>
#include <ostream>
#include <string>

namespace cw::blob {

class Rig {
public:
    virtual ~Rig() = default;
    // Stores of one empty vault whose containers do not exist yet.
    virtual StoreFactory& factory() = 0;
    // Lets the time in which leases count pass. Rigs of real services cannot.
    virtual void advance(std::int64_t ns) { (void)ns; }
};

struct RigMaker {
    std::string name;  // [A-Za-z0-9]+
    std::function<std::unique_ptr<Rig>()> make;
};
inline void PrintTo(const RigMaker& maker, std::ostream* out) {
    *out << maker.name;
}

// Every rig runs the contract; those whose time can move run the lease expiry contract as well.
std::vector<RigMaker> contract_rigs();
std::vector<RigMaker> movable_clock_rigs();

}  // namespace cw::blob
