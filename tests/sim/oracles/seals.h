// No pair of key and nonce seals twice (G8): seen where every AES-GCM message of the program
// begins, at OpenSSL, whatever room seals and whatever becomes of it (seal_watch.cc).
#pragma once

#include "base/bytes.h"
#include "tests/sim/oracles/watch.h"

#include <unordered_set>

namespace cw::sim {

class SealOracle {
public:
    // The newest one alive is told of all seals of the program.
    explicit SealOracle(Complain complain);
    ~SealOracle();
    SealOracle(const SealOracle&) = delete;
    SealOracle& operator=(const SealOracle&) = delete;

    // Null: nobody looks.
    static SealOracle* current() noexcept;
    // `pair` stands for the key and the nonce: a hash of both.
    void on_seal(std::uint64_t pair);
    Looks seals = 0;

private:
    Complain complain_;
    SealOracle* before_;
    std::unordered_set<std::uint64_t> pairs_;
};

}  // namespace cw::sim
