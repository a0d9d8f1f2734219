#include "egress/vault/chain_trail.h"

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

Sha256 hash_of(std::uint64_t number) {
    return sha256(std::as_bytes(std::span(&number, 1)));
}

TEST(ChainTrail, KnowsExactlyWhatWasAdded) {
    ChainTrail trail;
    EXPECT_EQ(trail.at(0), std::nullopt);
    EXPECT_EQ(trail.at(1), std::nullopt);
    for (std::uint64_t n = 7; n <= 9; ++n) {
        trail.add(n, hash_of(n));
    }
    EXPECT_EQ(trail.at(6), std::nullopt);
    EXPECT_EQ(trail.at(7), hash_of(7));
    EXPECT_EQ(trail.at(9), hash_of(9));
    EXPECT_EQ(trail.at(10), std::nullopt);
    EXPECT_EQ(trail.at(UINT64_MAX), std::nullopt);
}

TEST(ChainTrail, KeepsTheNewestWithinItsLimit) {
    ChainTrail trail;
    constexpr std::uint64_t last = ChainTrail::manifests_max + 100;
    for (std::uint64_t n = 1; n <= last; ++n) {
        trail.add(n, hash_of(n));
    }
    EXPECT_EQ(trail.bytes(), ChainTrail::manifests_max * sizeof(Sha256));
    EXPECT_EQ(trail.at(last), hash_of(last));
    EXPECT_EQ(trail.at(101), hash_of(101));
    EXPECT_EQ(trail.at(100), std::nullopt);
}

}  // namespace
}  // namespace cw::vault
