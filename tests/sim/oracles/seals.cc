#include "tests/sim/oracles/seals.h"

#include <utility>

namespace cw::sim {
namespace {

SealOracle* newest = nullptr;

}  // namespace

SealOracle::SealOracle(Complain complain)
    : complain_(std::move(complain)), before_(std::exchange(newest, this)) {}

SealOracle::~SealOracle() {
    newest = before_;
}

SealOracle* SealOracle::current() noexcept {
    return newest;
}

void SealOracle::on_seal(std::uint64_t pair) {
    ++seals;
    if (!pairs_.insert(pair).second) {
        complain_("seals", "a key and a nonce have sealed two messages");
    }
}

}  // namespace cw::sim
