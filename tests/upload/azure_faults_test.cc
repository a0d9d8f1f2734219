// Part D of the fault catalogue, through the client, the repetitions above it and the engine: what
// is shown while Azure misbehaves, that it is over afterwards, and that nothing is lost or wrong.
#include "egress/blob/common.h"
#include "egress/vault/names.h"
#include "tests/upload/azure_world.h"

namespace cw::upload::test {
namespace {

using fake_azure::Action;
using fake_azure::FaultRule;

FaultRule error_of(int status, const std::string& code, const std::string& op = "put_blob") {
    return {.op = op, .action = Action::error, .status = status, .code = code};
}

TEST_F(AzureFaults, D1_AStoreThatIsBusyIsShownAndItsRequestsGrowRare) {
    expect_shown_and_over(
        {.op = "put_blob", .action = Action::throttle, .retry_after_s = 0, .code = ""},
        Errc::blob_throttled);
    expect_shown_and_over(error_of(429, "TooManyRequests"), Errc::blob_throttled);
    expect_shown_and_over(error_of(500, "OperationTimedOut"), Errc::blob_unavailable);
    // Seven and a half minutes of faults.
    EXPECT_LE(azure.fake.stats().count("put_blob"), 250U);
}

TEST_F(AzureFaults, D2_WhatWasAppliedWithoutAnAnswerIsRecognisedAndNotPutTwice) {
    fault({.op = "put_blob", .action = Action::timeout_applied, .code = ""});
    const PointId point = news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] { return committed(point); })) << shown();
    pass(20 * ns_per_s);
    EXPECT_EQ(shown(), "");
    expect_whole(2);
    // It can be seen only while the objects can be looked at.
    no_fault();
    azure.fake.faults().add({.op = "put_blob", .action = Action::timeout_applied});
    azure.fake.faults().add(error_of(500, "OperationTimedOut", "head_blob"));
    const PointId second = news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] { return stands(Errc::blob_unavailable); })) << shown();
    no_fault();
    EXPECT_TRUE(within(60 * ns_per_s, [&] { return committed(second) && shown().empty(); }))
        << shown();
    expect_whole(3);
}

TEST_F(AzureFaults, D3_WhatWasNotAppliedIsPutAgain) {
    fault({.op = "put_blob", .action = Action::timeout, .count = 2, .code = ""});
    const PointId point = news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] { return committed(point); })) << shown();
    expect_whole(2);
    expect_shown_and_over({.op = "put_blob", .action = Action::timeout, .code = "timeout"},
                          Errc::blob_unavailable);
}

TEST_F(AzureFaults, D4_WhatIsAppliedMinutesLaterHarmsNothing) {
    for (const char* const container : {"data/", "manifest/"}) {
        fault({.op = "put_blob",
               .name = container,
               .action = Action::timeout_late,
               .count = 1,
               .delay_ms = 300'000});
        const PointId point = news();
        EXPECT_TRUE(within(60 * ns_per_s, [&] { return committed(point); })) << shown();
        const vault::ChainState before = read_state(azure.world, source.machine);
        azure.fake.advance(301 * ns_per_s);
        pass(10 * ns_per_s);
        EXPECT_EQ(read_state(azure.world, source.machine).hash, before.hash);
        EXPECT_EQ(shown(), "");
    }
    expect_whole(3);
    // While it may still come, and cannot be looked for, it is a doubt that is shown.
    azure.fake.faults().add(
        {.op = "put_blob", .action = Action::timeout_late, .delay_ms = 300'000});
    azure.fake.faults().add(error_of(503, "", "head_blob"));
    azure.fake.faults().add(error_of(500, "InternalError", "get_blob"));
    (void)news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] {
        return stands(Errc::blob_unavailable) || stands(Errc::blob_throttled);
    })) << shown();
}

TEST_F(AzureFaults, D5_BrokenAndForeignAnswersAreNoAnswers) {
    expect_shown_and_over({.op = "put_blob", .action = Action::garbage, .code = "garbage"},
                          Errc::blob_unavailable);
    expect_shown_and_over(
        {.op = "put_blob", .action = Action::middlebox, .status = 409, .code = "middlebox"},
        Errc::blob_unavailable);
    expect_shown_and_over({.op = "*", .action = Action::drop, .code = "drop"},
                          Errc::blob_unavailable);
}

TEST_F(AzureFaults, D6_ASegmentThatWasStoredWithOtherBytesIsShownAndNeverNamed) {
    fault({.op = "put_blob", .name = "data/", .action = Action::corrupt, .code = ""});
    const PointId point = news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] { return stands(Errc::object_corrupt); })) << shown();
    pass(60 * ns_per_s);
    EXPECT_FALSE(committed(point));
    no_fault();
    EXPECT_TRUE(within(60 * ns_per_s, [&] { return committed(point) && shown().empty(); }))
        << shown();
    expect_whole(2);
}

TEST_F(AzureFaults, D6_AManifestThatWasStoredWithOtherBytesIsNeverBuiltUpon) {
    const vault::Manifest before = read_state(azure.world, source.machine).newest;
    fault({.op = "put_blob", .name = "manifest/", .action = Action::corrupt, .count = 1});
    const PointId point = news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] { return stands(Errc::object_corrupt); })) << shown();
    pass(120 * ns_per_s);
    EXPECT_TRUE(stands(Errc::object_corrupt));
    EXPECT_FALSE(committed(point));
    EXPECT_FALSE(server->cache.records.empty());
    // Somebody removes what nobody can use.
    const auto store = azure.stores()->make();
    ASSERT_TRUE(remove_and_wait(*store, vault::manifest_blob(source.machine, before.number + 1)));
    EXPECT_TRUE(within(60 * ns_per_s, [&] { return committed(point) && shown().empty(); }))
        << shown();
    expect_whole(2);
}

TEST_F(AzureFaults, D7_ARefusedCredentialIsShownAndTheServiceIsNotHammered) {
    expect_shown_and_over({.op = "*", .action = Action::expired_403, .code = "expired_403"},
                          Errc::blob_auth);
    fault({.op = "*", .action = Action::expired_401});
    (void)news();
    pass(120 * ns_per_s);
    azure.fake.reset_stats();
    pass(600 * ns_per_s);
    EXPECT_TRUE(stands(Errc::blob_auth));
    // One for all of them, and whoever comes next after 30 seconds is at most eight late.
    EXPECT_LE(azure.fake.stats().count("*"), 600U / 30 + 1);
    EXPECT_GE(azure.fake.stats().count("*"), 600U / 40);
}

TEST_F(AzureFaults, D7_ARightThatWasTakenAwayIsShownUntilItIsBack) {
    expect_shown_and_over(error_of(403, "AuthorizationPermissionMismatch", "*"), Errc::blob_denied);
}

TEST_F(AzureFaults, D8_AWrongClockIsShownAndUploadsGoOn) {
    for (const std::int64_t wrong_us : {3'600'000'000LL, -3'600'000'000LL}) {
        azure.world.clock.jump_wall(wrong_us);
        const PointId point = news();
        EXPECT_TRUE(within(30 * ns_per_s, [&] {
            return stands(Errc::clock_skew) && committed(point);
        })) << shown();
        EXPECT_FALSE(stands(Errc::blob_auth));
        azure.world.clock.jump_wall(-wrong_us);
        (void)news();
        EXPECT_TRUE(within(60 * ns_per_s, [&] { return shown().empty(); })) << shown();
    }
}

TEST_F(AzureFaults, D8_AClockThatIsDaysWrongIsShownUntilItIsRight) {
    for (const std::int64_t wrong_us : {172'800'000'000LL, -172'800'000'000LL}) {
        azure.world.clock.jump_wall(wrong_us);
        const PointId point = news();
        EXPECT_TRUE(within(30 * ns_per_s, [&] { return stands(Errc::clock_skew); })) << shown();
        EXPECT_FALSE(stands(Errc::blob_auth));
        azure.world.clock.jump_wall(-wrong_us);
        EXPECT_TRUE(within(60 * ns_per_s, [&] { return committed(point) && shown().empty(); }))
            << shown();
    }
}

TEST_F(AzureFaults, D9_AMissingContainerIsShownAndNeverMade) {
    expect_shown_and_over(error_of(404, "ContainerNotFound", "*"), Errc::vault_missing);
    azure.fake.clear();  // Now it is true.
    azure.fake.reset_stats();
    const PointId point = news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] { return stands(Errc::vault_missing); })) << shown();
    pass(120 * ns_per_s);
    EXPECT_FALSE(committed(point));
    EXPECT_FALSE(server->cache.records.empty());
    EXPECT_EQ(azure.fake.stats().count("create_container"), 0U);
}

TEST_F(AzureFaults, D10_AContainerThatIsBeingDeletedIsAMissingOne) {
    expect_shown_and_over(error_of(409, "ContainerBeingDeleted", "*"), Errc::vault_missing);
    expect_shown_and_over(error_of(404, "AccountNotFound", "*"), Errc::vault_missing);
}

TEST_F(AzureFaults, D11_ATakenNameCostsAnotherOneAndNobodyIsTold) {
    FaultRule taken = error_of(409, "BlobAlreadyExists");
    taken.name = "data/";
    taken.count = 1;
    fault(taken);
    const PointId point = news();
    EXPECT_TRUE(within(60 * ns_per_s, [&] { return committed(point); })) << shown();
    const auto& conflicts = azure.metrics->counter(
        "causeway_blob_requests_total",
        {{"op", "put"}, {"code", std::string(name_of(Errc::blob_conflict))}});
    EXPECT_EQ(conflicts.value(), 1);
    EXPECT_FALSE(stands(Errc::blob_conflict));
    EXPECT_EQ(shown(), "");
    expect_whole(2);
}

TEST_F(AzureFaults, D12_WhoLosesTheConditionOfAManifestIsFenced) {
    Server other(azure.world, EngineOptions{}, 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks, Seq{10}, true).refused.has_value());
    (void)news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] { return stands(Errc::fenced); })) << shown();
    EXPECT_FALSE(server->cache.records.empty());
    expect_whole(1);
    // The machine comes back, and what was held for it counts again.
    ASSERT_FALSE(server->hello(source.machine, source.disks).refused.has_value());
    const PointId point = news();
    EXPECT_TRUE(within(60 * ns_per_s, [&] { return committed(point) && shown().empty(); }))
        << shown();
}

TEST_F(AzureFaults, D13_ALeaseOfSomebodyElseIsNamedAndHoldsUpNoPoint) {
    const std::string head = vault::head_blob(source.machine).name;
    const auto note = [&] {
        const auto store = azure.stores()->make();
        const auto bytes = blob::get_and_wait(*store, {.name = {blob::Container::control, head}});
        return bytes ? bytes->properties.etag : std::string();
    };
    ASSERT_TRUE(within(60 * ns_per_s, [&] { return !note().empty(); })) << shown();
    ASSERT_TRUE(azure.fake.set_leased("control", head, true));
    const std::string before = note();
    const PointId point = news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] {
        return committed(point) && shown().contains("BLOB_LEASED head of machine");
    })) << shown();
    pass(60 * ns_per_s);
    EXPECT_TRUE(stands(Errc::blob_leased)) << shown();
    EXPECT_EQ(note(), before);
    expect_whole(2);
    ASSERT_TRUE(azure.fake.set_leased("control", head, false));
    EXPECT_TRUE(within(60 * ns_per_s, [&] { return shown().empty(); })) << shown();
    EXPECT_NE(note(), before);
}

TEST_F(AzureFaults, D15_NothingIsStagedThatCouldExpire) {
    const PointId point = news();
    ASSERT_TRUE(within(60 * ns_per_s, [&] { return committed(point); })) << shown();
    for (const auto& [op, codes] : azure.fake.stats().requests) {
        EXPECT_TRUE(op == "put_blob" || op == "get_blob" || op == "head_blob") << op;
    }
}

}  // namespace
}  // namespace cw::upload::test
