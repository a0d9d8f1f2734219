// What the contract suite needs from an implementation under test: a fresh, empty vault.
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
};

struct RigMaker {
    std::string name;  // [A-Za-z0-9]+
    std::function<std::unique_ptr<Rig>()> make;
};
inline void PrintTo(const RigMaker& maker, std::ostream* out) {
    *out << maker.name;
}

std::vector<RigMaker> contract_rigs();

}  // namespace cw::blob
