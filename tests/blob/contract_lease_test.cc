// The contract of BlobStore on leases, as tests: run against every implementation (see rig.h).
#include "tests/blob/contract.h"

namespace cw::blob {
namespace {

constexpr auto lease_one = "11111111-1111-4111-8111-111111111111";
constexpr auto lease_two = "22222222-2222-4222-8222-222222222222";

class LeaseContract : public Contract {};
class LeaseExpiryContract : public Contract {};

TEST_P(LeaseContract, LeaseKeepsOthersFromWriting) {
    must_put(control("l"), "one");
    ASSERT_TRUE(lease(control("l"), LeaseAction::acquire, lease_one));
    ASSERT_TRUE(lease(control("l"), LeaseAction::acquire, lease_one));  // Idempotent.
    expect_error(lease(control("l"), LeaseAction::acquire, lease_two), Errc::blob_lease_lost);
    expect_refused(put(control("l"), "no id", PutCondition::none), Errc::blob_lease_lost);
    expect_refused(put(control("l"), "other", PutCondition::none, {}, lease_two),
                   Errc::blob_lease_lost);
    expect_error(remove_and_wait(*store_, control("l")), Errc::blob_lease_lost);
    EXPECT_EQ(put(control("l"), "mine", PutCondition::none, {}, lease_one).outcome,
              PutOutcome::stored);
    EXPECT_EQ(must_get(control("l")), "mine");
    EXPECT_TRUE(lease(control("l"), LeaseAction::renew, lease_one));
    expect_error(lease(control("l"), LeaseAction::renew, lease_two), Errc::blob_lease_lost);
}

TEST_P(LeaseContract, ReleasedLeaseFreesTheObject) {
    must_put(control("r"), "one");
    ASSERT_TRUE(lease(control("r"), LeaseAction::acquire, lease_one));
    expect_error(lease(control("r"), LeaseAction::release, lease_two), Errc::blob_lease_lost);
    ASSERT_TRUE(lease(control("r"), LeaseAction::release, lease_one));
    expect_error(lease(control("r"), LeaseAction::renew, lease_one), Errc::blob_lease_lost);
    EXPECT_TRUE(lease(control("r"), LeaseAction::acquire, lease_two));
}

TEST_P(LeaseContract, BrokenLeaseFencesItsHolder) {
    must_put(control("b"), "one");
    ASSERT_TRUE(lease(control("b"), LeaseAction::acquire, lease_one));
    ASSERT_TRUE(lease(control("b"), LeaseAction::break_, {}));
    expect_error(lease(control("b"), LeaseAction::renew, lease_one), Errc::blob_lease_lost);
    expect_refused(put(control("b"), "late", PutCondition::none, {}, lease_one),
                   Errc::blob_lease_lost);
    EXPECT_TRUE(lease(control("b"), LeaseAction::acquire, lease_two));
}

TEST_P(LeaseContract, BreakingWhereNoLeaseStandsIsFine) {
    must_put(control("n"), "one");
    EXPECT_TRUE(lease(control("n"), LeaseAction::break_, {}));
}

TEST_P(LeaseContract, WriteWithALeaseNobodyHoldsIsFenced) {
    must_put(control("w"), "one");
    expect_refused(put(control("w"), "two", PutCondition::none, {}, lease_one),
                   Errc::blob_lease_lost);
}

TEST_P(LeaseContract, LeaseOfAMissingObjectIsNotFound) {
    expect_error(lease(control("absent"), LeaseAction::acquire, lease_one), Errc::blob_not_found);
}

TEST_P(LeaseContract, LeaseRequestsAreChecked) {
    must_put(control("c"), "one");
    expect_error(lease(control("c"), LeaseAction::acquire, "not a uuid"), Errc::blob_rejected);
    expect_error(
        lease_and_wait(*store_, {.name = control("c"), .lease_id = lease_one, .duration_s = 14}),
        Errc::blob_rejected);
    expect_error(
        lease_and_wait(*store_, {.name = control("c"), .lease_id = lease_one, .duration_s = 61}),
        Errc::blob_rejected);
}

TEST_P(LeaseExpiryContract, ExpiredLeaseMayBeTakenByAnother) {
    must_put(control("e"), "one");
    ASSERT_TRUE(lease(control("e"), LeaseAction::acquire, lease_one));
    rig_->advance(14 * ns_per_s);
    expect_error(lease(control("e"), LeaseAction::acquire, lease_two), Errc::blob_lease_lost);
    rig_->advance(2 * ns_per_s);
    expect_refused(put(control("e"), "late", PutCondition::none, {}, lease_one),
                   Errc::blob_lease_lost);
    ASSERT_TRUE(lease(control("e"), LeaseAction::acquire, lease_two));
    expect_error(lease(control("e"), LeaseAction::renew, lease_one), Errc::blob_lease_lost);
}

TEST_P(LeaseExpiryContract, RenewExtendsALeaseAndRevivesAnUntouchedExpiredOne) {
    must_put(control("v"), "one");
    ASSERT_TRUE(lease(control("v"), LeaseAction::acquire, lease_one));
    rig_->advance(10 * ns_per_s);
    ASSERT_TRUE(lease(control("v"), LeaseAction::renew, lease_one));
    rig_->advance(10 * ns_per_s);
    expect_error(lease(control("v"), LeaseAction::acquire, lease_two), Errc::blob_lease_lost);
    rig_->advance(10 * ns_per_s);
    EXPECT_TRUE(lease(control("v"), LeaseAction::renew, lease_one));
}

TEST_P(LeaseExpiryContract, WriteAfterExpiryEndsTheLeaseForGood) {
    must_put(control("t"), "one");
    ASSERT_TRUE(lease(control("t"), LeaseAction::acquire, lease_one));
    rig_->advance(16 * ns_per_s);
    must_put(control("t"), "two", PutCondition::none);
    expect_error(lease(control("t"), LeaseAction::renew, lease_one), Errc::blob_lease_lost);
}

INSTANTIATE_TEST_SUITE_P(Stores, LeaseContract, testing::ValuesIn(contract_rigs()), rig_name);
INSTANTIATE_TEST_SUITE_P(Stores, LeaseExpiryContract, testing::ValuesIn(movable_clock_rigs()),
                         rig_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LeaseExpiryContract);

}  // namespace
}  // namespace cw::blob
