// The retry decorator over the memory fake, in time that only the test moves.
#include "egress/blob/retry_store.h"
#include "tests/fakes/memory_vault.h"

#include <gtest/gtest.h>

namespace cw::blob {
namespace {

using fakes::BlobFault;
using fakes::BlobOp;

class Retry : public testing::Test {
protected:
    Retry() { vault_.create_containers(); }

    std::unique_ptr<BlobStore> store(RetryOptions options = {}) {
        factory_ = make_retry_factory(vault_.factory(), options, clock_, *random_, *metrics_);
        return factory_->make();
    }
    static PutRequest create(const std::string& name, std::string_view body,
                             const std::string& nonce) {
        PutRequest request{.name = {Container::data, name}, .body = {as_bytes(body)}};
        if (!nonce.empty()) {
            request.metadata = {{std::string(nonce_key), nonce}};
        }
        return request;
    }
    std::string stored_text(const std::string& name) {
        const auto bytes = vault_.bytes({Container::data, name});
        return bytes ? std::string(as_text(*bytes)) : "(absent)";
    }
    static void expect_error(const PutResult& result, PutOutcome outcome, Errc code) {
        EXPECT_EQ(result.outcome, outcome);
        ASSERT_TRUE(result.error);
        EXPECT_EQ(name_of(result.error->code), name_of(code));
    }

    ManualClock clock_;
    fakes::MemoryVault vault_{clock_, {.seed = 3, .on_wait = [this](std::int64_t ns) {
                                           clock_.advance(std::max<std::int64_t>(ns, 1));
                                       }}};
    std::unique_ptr<Random> random_ = make_seeded_random(9);
    std::unique_ptr<MetricRegistry> metrics_ = make_metric_registry();
    std::unique_ptr<StoreFactory> factory_;
};

TEST_F(Retry, ThrottledPutsAreRepeatedUntilStored) {
    vault_.script(BlobOp::put, BlobFault::throttled, 3);
    const auto s = store();
    EXPECT_EQ(put_and_wait(*s, create("a", "x", "n")).outcome, PutOutcome::stored);
    EXPECT_EQ(vault_.requests(BlobOp::put), 4U);
    EXPECT_EQ(stored_text("a"), "x");
}

TEST_F(Retry, LostReplyIsRecognisedWithoutASecondPut) {
    vault_.script(BlobOp::put, BlobFault::lost_reply);
    const auto s = store();
    const PutResult result = put_and_wait(*s, create("a", "x", "n"));
    EXPECT_EQ(result.outcome, PutOutcome::stored);
    EXPECT_FALSE(result.etag.empty());
    EXPECT_EQ(vault_.requests(BlobOp::put), 1U);
    EXPECT_EQ(vault_.requests(BlobOp::head), 1U);
}

TEST_F(Retry, LostRequestIsPutAgain) {
    vault_.script(BlobOp::put, BlobFault::lost_request);
    const auto s = store();
    EXPECT_EQ(put_and_wait(*s, create("a", "x", "n")).outcome, PutOutcome::stored);
    EXPECT_EQ(vault_.requests(BlobOp::put), 2U);
}

TEST_F(Retry, LatePutThatLandsBeforeTheSecondIsOurOwn) {
    vault_.script(BlobOp::put, BlobFault::late);
    vault_.script(BlobOp::put, BlobFault::throttled, 9);
    const auto s = store({.give_up_ns = 0});
    EXPECT_EQ(put_and_wait(*s, create("a", "x", "n")).outcome, PutOutcome::stored);
    EXPECT_EQ(stored_text("a"), "x");
}

TEST_F(Retry, AnothersObjectIsAConflict) {
    const auto s = store();
    ASSERT_EQ(put_and_wait(*s, create("a", "theirs", "other")).outcome, PutOutcome::stored);
    expect_error(put_and_wait(*s, create("a", "ours", "n")), PutOutcome::refused,
                 Errc::blob_conflict);
    EXPECT_EQ(stored_text("a"), "theirs");
}

TEST_F(Retry, AnothersObjectAfterALostRequestIsAConflict) {
    const auto s = store();
    ASSERT_EQ(put_and_wait(*s, create("a", "theirs", "other")).outcome, PutOutcome::stored);
    vault_.script(BlobOp::put, BlobFault::lost_request);
    expect_error(put_and_wait(*s, create("a", "ours", "n")), PutOutcome::refused,
                 Errc::blob_conflict);
}

TEST_F(Retry, SameNonceWithOtherBytesIsNotOurs) {
    const auto s = store();
    ASSERT_EQ(put_and_wait(*s, create("a", "longer", "n")).outcome, PutOutcome::stored);
    expect_error(put_and_wait(*s, create("a", "x", "n")), PutOutcome::refused, Errc::blob_conflict);
}

TEST_F(Retry, UnknownWithoutANonceStaysUnknown) {
    vault_.script(BlobOp::put, BlobFault::lost_reply);
    const auto s = store();
    EXPECT_EQ(put_and_wait(*s, create("a", "x", "")).outcome, PutOutcome::unknown);
    EXPECT_EQ(vault_.requests(BlobOp::head), 0U);
}

TEST_F(Retry, LostSwapIsRecognisedByItsNonce) {
    const auto s = store();
    const PutResult first = put_and_wait(*s, create("h", "one", "n1"));
    vault_.script(BlobOp::put, BlobFault::lost_reply);
    PutRequest swap = create("h", "two", "n2");
    swap.condition = PutCondition::if_match;
    swap.etag = first.etag;
    EXPECT_EQ(put_and_wait(*s, swap).outcome, PutOutcome::stored);
    EXPECT_EQ(stored_text("h"), "two");
    EXPECT_EQ(vault_.requests(BlobOp::put), 2U);
}

TEST_F(Retry, LostSwapThatWasNotAppliedIsPutAgain) {
    const auto s = store();
    const PutResult first = put_and_wait(*s, create("h", "one", "n1"));
    vault_.script(BlobOp::put, BlobFault::lost_request);
    PutRequest swap = create("h", "two", "n2");
    swap.condition = PutCondition::if_match;
    swap.etag = first.etag;
    EXPECT_EQ(put_and_wait(*s, swap).outcome, PutOutcome::stored);
    EXPECT_EQ(stored_text("h"), "two");
}

TEST_F(Retry, ErrorsThatNeedAPersonAreNotRepeated) {
    vault_.script(BlobOp::put, BlobFault::denied);
    vault_.script(BlobOp::get, BlobFault::denied);
    const auto s = store();
    expect_error(put_and_wait(*s, create("a", "x", "n")), PutOutcome::refused, Errc::blob_auth);
    EXPECT_FALSE(get_and_wait(*s, {.name = {Container::data, "a"}}));
    EXPECT_FALSE(head_and_wait(*s, {Container::data, "absent"}));
    EXPECT_EQ(vault_.requests(BlobOp::put), 1U);
    EXPECT_EQ(vault_.requests(BlobOp::get), 1U);
    EXPECT_EQ(vault_.requests(BlobOp::head), 1U);
}

TEST_F(Retry, GivesUpInTimeAndKeepsTheDoubt) {
    vault_.script(BlobOp::put, BlobFault::lost_request, 1);
    vault_.script(BlobOp::put, BlobFault::unavailable, 10'000);
    const auto s = store({.give_up_ns = 10 * ns_per_s});
    const Nanos began = clock_.boot();
    // An earlier attempt may still land: refused would be a lie.
    expect_error(put_and_wait(*s, create("a", "x", "n")), PutOutcome::unknown,
                 Errc::blob_unavailable);
    EXPECT_LT(clock_.boot() - began, 60 * ns_per_s);
}

TEST_F(Retry, CleanRefusalsStayRefusedWhenGivingUp) {
    vault_.script(BlobOp::put, BlobFault::unavailable, 10'000);
    const auto s = store({.give_up_ns = 10 * ns_per_s});
    expect_error(put_and_wait(*s, create("a", "x", "n")), PutOutcome::refused,
                 Errc::blob_unavailable);
}

TEST_F(Retry, BytesThatChangedInMemoryAreSentTwiceNotForEver) {
    const auto s = store({.give_up_ns = 0});
    PutRequest request = create("a", "x", "n");
    request.crc64 = 1;
    expect_error(put_and_wait(*s, std::move(request)), PutOutcome::refused, Errc::blob_checksum);
    EXPECT_EQ(vault_.requests(BlobOp::put), 2U);
    EXPECT_EQ(stored_text("a"), "(absent)");
}

TEST_F(Retry, ReadsAndListsSurviveFaults) {
    const auto s = store();
    ASSERT_EQ(put_and_wait(*s, create("a", "x", "n")).outcome, PutOutcome::stored);
    for (const BlobOp op : {BlobOp::get, BlobOp::head, BlobOp::list, BlobOp::remove}) {
        vault_.script(op, BlobFault::throttled);
        vault_.script(op, BlobFault::unavailable);
    }
    EXPECT_TRUE(get_and_wait(*s, {.name = {Container::data, "a"}}));
    EXPECT_TRUE(head_and_wait(*s, {Container::data, "a"}));
    EXPECT_TRUE(list_all(*s, Container::data, ""));
    EXPECT_TRUE(remove_and_wait(*s, {Container::data, "a"}));
    EXPECT_EQ(vault_.requests(BlobOp::get), 3U);
}

TEST_F(Retry, ExtraRequestsStayWithinATenth) {
    constexpr int count = 2000;
    vault_.set_rates({.throttled = 0.03, .lost_reply = 0.01, .lost_request = 0.01});
    const auto s = store({.give_up_ns = 0});
    int stored_count = 0, finished = 0;
    for (int i = 0; i < count; ++i) {
        s->put(create("o/" + std::to_string(i), "x", "n" + std::to_string(i)),
               [&](const PutResult& result) {
                   ++finished;
                   stored_count += result.outcome == PutOutcome::stored ? 1 : 0;
               });
    }
    for (int i = 0; finished < count && i < 1'000'000; ++i) {
        s->wait(ns_per_s, -1);
        s->poll();
    }
    EXPECT_EQ(stored_count, count);
    EXPECT_LE(vault_.requests(BlobOp::put) + vault_.requests(BlobOp::head), count * 11 / 10);
}

TEST_F(Retry, DeadStoreIsNotHammered) {
    vault_.set_rates({.unavailable = 1});
    const auto s = store({.give_up_ns = 0});
    for (int i = 0; i < 200; ++i) {
        s->put(create("o/" + std::to_string(i), "x", "n"), [](const PutResult&) {});
    }
    const Nanos began = clock_.boot();
    for (int i = 0; clock_.boot() - began < 600 * ns_per_s && i < 1'000'000; ++i) {
        s->wait(ns_per_s, -1);
        s->poll();
    }
    // 200 first attempts earn 20, the start has 10, ten minutes of trickle 120.
    EXPECT_LE(vault_.requests(BlobOp::put), 200U + 20 + 10 + 120);
    vault_.set_rates({});
    for (int i = 0; s->in_flight() > 0 && i < 1'000'000; ++i) {
        s->wait(ns_per_s, -1);
        s->poll();
    }
    EXPECT_EQ(s->in_flight(), 0U);  // And everything goes through once it is back.
}

TEST_F(Retry, D18AStoreThatKeepsFailingIsToldWithinHalfAMinuteAndClearedWhenItIsBack) {
    Conditions conditions(clock_);
    RetryOptions options;
    options.conditions = &conditions;
    const auto s = store(options);
    vault_.script(BlobOp::put, BlobFault::throttled, 3);  // A hiccup is nobody's business.
    ASSERT_EQ(put_and_wait(*s, create("a", "x", "n")).outcome, PutOutcome::stored);
    EXPECT_TRUE(conditions.events(10).empty());

    vault_.set_rates({.throttled = 1});
    int finished = 0;
    for (const char* const name : {"b", "c"}) {
        s->put(create(name, "x", "n"), [&](const PutResult&) { ++finished; });
    }
    const auto pass = [&](std::int64_t ns) {
        const Nanos until = clock_.boot() + ns;
        for (int i = 0; clock_.boot() < until && i < 1'000'000; ++i) {
            s->wait(until - clock_.boot(), -1);
            s->poll();
        }
    };
    pass(9 * ns_per_s);
    EXPECT_FALSE(conditions.standing(Errc::blob_throttled));
    pass(21 * ns_per_s);
    EXPECT_TRUE(conditions.standing(Errc::blob_throttled));
    vault_.set_rates({.unavailable = 1});  // Now it fails otherwise.
    pass(60 * ns_per_s);
    EXPECT_TRUE(conditions.standing(Errc::blob_unavailable));
    vault_.set_rates({});
    pass(60 * ns_per_s);
    EXPECT_EQ(finished, 2);
    EXPECT_TRUE(conditions.list().empty());
}

TEST_F(Retry, G9WhatAnOutageHeldUpIsThereSecondsAfterItsEnd) {
    vault_.set_rates({.unavailable = 1});
    const auto s = store({.give_up_ns = 0});
    int stored_count = 0;
    for (int i = 0; i < 64; ++i) {
        s->put(create("o/" + std::to_string(i), "x", "n"), [&](const PutResult& result) {
            stored_count += result.outcome == PutOutcome::stored ? 1 : 0;
        });
    }
    const auto pass = [&](std::int64_t ns) {
        const Nanos until = clock_.boot() + ns;
        for (int i = 0; clock_.boot() < until && i < 1'000'000; ++i) {
            s->wait(until - clock_.boot(), -1);
            s->poll();
        }
    };
    pass(300 * ns_per_s);
    EXPECT_EQ(stored_count, 0);
    const std::uint64_t failed = vault_.requests(BlobOp::put);
    EXPECT_LE(failed, 64U + 7 + 10 + 60);
    vault_.set_rates({});
    pass(15 * ns_per_s);
    EXPECT_EQ(stored_count, 64);
    EXPECT_EQ(vault_.requests(BlobOp::put), failed + 64);
}

TEST_F(Retry, TroubleEndsWithItsStore) {
    Conditions conditions(clock_);
    RetryOptions options;
    options.conditions = &conditions;
    auto s = store(options);
    vault_.set_rates({.unavailable = 1});
    s->put(create("a", "x", "n"), [](const PutResult&) {});
    for (int i = 0; !conditions.standing(Errc::blob_unavailable) && i < 1'000'000; ++i) {
        s->wait(ns_per_s, -1);
        s->poll();
    }
    EXPECT_TRUE(conditions.standing(Errc::blob_unavailable));
    s.reset();
    EXPECT_TRUE(conditions.list().empty());
}

TEST_F(Retry, CountsEveryAttemptByOperationAndCode) {
    vault_.script(BlobOp::put, BlobFault::throttled, 2);
    const auto s = store();
    ASSERT_EQ(put_and_wait(*s, create("a", "x", "n")).outcome, PutOutcome::stored);
    const auto value = [&](const char* code) {
        return metrics_->counter("causeway_blob_requests_total", {{"op", "put"}, {"code", code}})
            .value();
    };
    EXPECT_EQ(value("BLOB_THROTTLED"), 2);
    EXPECT_EQ(value("ok"), 1);
}

TEST(RetryBudget, EarnsByTrafficAndByTimeUpToItsBurst) {
    RetryBudget budget({.share = 0.1, .burst = 2, .trickle_per_s = 0.5}, Nanos{0});
    EXPECT_TRUE(budget.take(Nanos{0}));
    EXPECT_TRUE(budget.take(Nanos{0}));
    EXPECT_FALSE(budget.take(Nanos{0}));
    for (int i = 0; i < 11; ++i) {
        budget.first_attempt();
    }
    EXPECT_TRUE(budget.take(Nanos{0}));
    EXPECT_FALSE(budget.take(Nanos{0}));
    EXPECT_TRUE(budget.take(Nanos{2 * ns_per_s}));
    EXPECT_FALSE(budget.take(Nanos{2 * ns_per_s}));
    EXPECT_TRUE(budget.take(Nanos{3600 * ns_per_s}));
    EXPECT_TRUE(budget.take(Nanos{3600 * ns_per_s}));
    EXPECT_FALSE(budget.take(Nanos{3600 * ns_per_s}));
}

}  // namespace
}  // namespace cw::blob
