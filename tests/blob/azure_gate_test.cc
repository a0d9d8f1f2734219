// What is shared by all stores of an account: that its credential is refused, and what time it is.
#include "egress/blob/credential_gate.h"
#include "egress/blob/service_clock.h"
#include "tests/blob/azure_fixture.h"

#include <array>

namespace cw::blob {
namespace {

using fake_azure::Action;
using Pass = CredentialGate::Pass;

constexpr std::int64_t hour_us = 3'600'000'000;

TEST(CredentialGate, OneAsksAndTheOthersWaitForWhatItIsTold) {
    CredentialGate gate;
    const int a = 0, b = 0;
    const Nanos at{5};
    ASSERT_EQ(gate.ask(&a, at), Pass::go);
    ASSERT_EQ(gate.ask(&b, at), Pass::go);
    gate.refused(nullptr, {Errc::blob_auth, "first"}, at);
    gate.refused(nullptr, {Errc::blob_auth, "of before"}, at + credential_probe_ns / 2);
    EXPECT_EQ(gate.failure().detail, "first");
    EXPECT_EQ(gate.ask(&a, at + (credential_probe_ns - 1)), Pass::fail);
    const Nanos due = at + credential_probe_ns;
    EXPECT_EQ(gate.ask(&a, due), Pass::probe);
    EXPECT_EQ(gate.ask(&a, due), Pass::wait);
    EXPECT_EQ(gate.ask(&b, due), Pass::wait);
    gate.refused(&a, {Errc::blob_auth, "second"}, due);
    EXPECT_EQ(gate.ask(&b, due), Pass::fail);
    EXPECT_EQ(gate.ask(&b, due + credential_probe_ns), Pass::probe);
    gate.end(&a, true);  // It is not its probe.
    EXPECT_EQ(gate.ask(&a, due + credential_probe_ns), Pass::wait);
    gate.end(&b, true);
    EXPECT_EQ(gate.ask(&a, due + credential_probe_ns), Pass::go);
}

TEST(CredentialGate, AProbeOfWhichNothingIsKnownIsLeftToTheNext) {
    CredentialGate gate;
    const int a = 0, b = 0;
    gate.refused(nullptr, {Errc::blob_auth, ""}, Nanos{0});
    const Nanos due = Nanos{0} + credential_probe_ns;
    ASSERT_EQ(gate.ask(&a, due), Pass::probe);
    gate.leave(&a);  // Its store was destroyed.
    ASSERT_EQ(gate.ask(&b, due), Pass::probe);
    gate.end(&b, false);  // The service did not answer.
    EXPECT_EQ(gate.ask(&a, due), Pass::probe);
}

TEST(CredentialGate, AFreshCredentialIsTriedByOneAlone) {
    CredentialGate gate;
    const int a = 0, b = 0;
    EXPECT_TRUE(gate.try_fresh(&a));
    EXPECT_FALSE(gate.try_fresh(&a));
    EXPECT_FALSE(gate.try_fresh(&b));
    EXPECT_EQ(gate.ask(&b, Nanos{0}), Pass::wait);
    gate.end(&a, true);
    EXPECT_EQ(gate.ask(&b, Nanos{0}), Pass::go);
    EXPECT_TRUE(gate.try_fresh(&b));
    gate.refused(&b, {Errc::blob_auth, ""}, Nanos{0});
    EXPECT_FALSE(gate.try_fresh(&a));  // Sent long before, and answered late.
    EXPECT_EQ(gate.ask(&a, Nanos{0}), Pass::fail);
}

class AzureGate : public AzureTest {
protected:
    static constexpr std::size_t stores_count = 4;

    void open_all(AzureOptions options) {
        stores_[0] = ready(std::move(options));
        for (std::size_t i = 1; i < stores_.size(); ++i) {
            stores_[i] = factory_->make();
        }
    }
    // Each store puts an object; how many were stored. Others than those were refused.
    std::size_t put_by_all() {
        const std::string name = "object-" + std::to_string(rounds_++) + "-";
        std::size_t done = 0, stored = 0;
        for (std::size_t i = 0; i < stores_.size(); ++i) {
            stores_[i]->put(put_of(name + std::to_string(i), "body"), [&](PutResult result) {
                ++done;
                stored += result.outcome == PutOutcome::stored ? 1 : 0;
                if (result.outcome != PutOutcome::stored) {
                    EXPECT_EQ(result.outcome, PutOutcome::refused);
                    EXPECT_EQ(name_of(result.error->code), name_of(Errc::blob_auth));
                }
            });
        }
        while (done < stores_.size()) {  // Every operation has a deadline.
            for (const auto& store : stores_) {
                store->wait(10 * ns_per_ms, -1);
                store->poll();
            }
        }
        return stored;
    }

    std::array<std::unique_ptr<BlobStore>, stores_count> stores_;
    int rounds_ = 0;
};

TEST_F(AzureGate, D7StoresOfAnAccountAskOnceInThirtySecondsWhetherTheirKeyIsTaken) {
    open_all(shared_key());
    fault({.op = "put_blob", .action = Action::expired_403});
    EXPECT_EQ(put_by_all(), 0U);
    EXPECT_LE(fake_.stats().count("put_blob"), stores_count);  // All were on their way at once.
    fake_.reset_stats();
    EXPECT_EQ(put_by_all(), 0U);
    EXPECT_EQ(fake_.stats().count("*"), 0U);
    for (std::size_t probes = 1; probes <= 3; ++probes) {
        clock_.advance(credential_probe_ns);
        EXPECT_EQ(put_by_all(), 0U);
        EXPECT_EQ(put_by_all(), 0U);
        EXPECT_EQ(fake_.stats().count("put_blob"), probes);
    }
    fake_.faults().replace({});
    clock_.advance(credential_probe_ns);
    EXPECT_EQ(put_by_all(), stores_count);
}

class AzureClock : public AzureTest {
protected:
    Conditions conditions_{clock_};

    std::unique_ptr<BlobStore> open_told() {
        AzureOptions options = shared_key();
        options.conditions = &conditions_;
        return ready(std::move(options));
    }
};

TEST_F(AzureClock, D8AWrongClockIsToldAndRequestsAreDatedByTheServices) {
    const auto store = open_told();
    int n = 0;
    for (const std::int64_t error_us : {-hour_us, hour_us, 25 * hour_us}) {
        clock_.set_wall_error(error_us);
        fake_.reset_stats();
        EXPECT_EQ(put_and_wait(*store, put_of(std::to_string(++n), "y")).outcome,
                  PutOutcome::stored);
        EXPECT_EQ(fake_.stats().count("put_blob"), 2U);
        EXPECT_TRUE(conditions_.standing(Errc::clock_skew));
        EXPECT_EQ(put_and_wait(*store, put_of(std::to_string(++n), "y")).outcome,
                  PutOutcome::stored);
        EXPECT_EQ(fake_.stats().count("put_blob"), 3U);  // The date is known now.
    }
    clock_.set_wall_error(hour_us / 6);  // Within the service's tolerance.
    EXPECT_EQ(put_and_wait(*store, put_of("last", "y")).outcome, PutOutcome::stored);
    EXPECT_TRUE(conditions_.list().empty());
}

TEST_F(AzureClock, D8WhatIsRefusedTogetherIsDatedAnewTogether) {
    const auto store = open_told();
    clock_.set_wall_error(-hour_us);
    int done = 0, stored = 0;
    for (int i = 0; i < 4; ++i) {
        store->put(put_of(std::to_string(i), "y"), [&](const PutResult& result) {
            ++done;
            stored += result.outcome == PutOutcome::stored ? 1 : 0;
        });
    }
    while (done < 4) {  // Every operation has a deadline.
        store->wait(10 * ns_per_ms, -1);
        store->poll();
    }
    EXPECT_EQ(stored, 4);
}

TEST_F(AzureClock, AClockThatIsDaysWrongIsToldAndNotFollowed) {
    const auto store = open_told();
    clock_.set_wall_error(-48 * hour_us);
    const PutResult result = put_and_wait(*store, put_of("x", "y"));
    EXPECT_EQ(result.outcome, PutOutcome::refused);
    EXPECT_EQ(name_of(result.error->code), name_of(Errc::clock_skew));
    EXPECT_TRUE(conditions_.standing(Errc::clock_skew));
    EXPECT_EQ(fake_.stats().count("put_blob"), 1U);
    clock_.set_wall_error(0);
    clock_.advance(credential_probe_ns);
    EXPECT_EQ(put_and_wait(*store, put_of("x", "y")).outcome, PutOutcome::stored);
    EXPECT_TRUE(conditions_.list().empty());
}

TEST_F(AzureClock, AWrongKeyIsToldFromAWrongClockThatIsFollowed) {
    AzureOptions options = shared_key();
    options.conditions = &conditions_;
    options.secret = Secret<std::string>("d3Jvbmc=");
    const auto store = open(std::move(options));
    clock_.set_wall_error(hour_us);
    const PutResult result = put_and_wait(*store, put_of("x", "y"));
    EXPECT_EQ(name_of(result.error->code), name_of(Errc::blob_auth));
    EXPECT_TRUE(conditions_.standing(Errc::clock_skew));
}

}  // namespace
}  // namespace cw::blob
