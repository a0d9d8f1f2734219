#include "egress/upload/disk_decision.h"

#include "pipeline/generation.h"

#include <gtest/gtest.h>

namespace cw::upload {
namespace {

using pipeline::DiskAction;

class DiskDecision : public testing::Test {
protected:
    DiskDecision() {
        hello.size_bytes = entry.size_bytes = 1 * gib;
        hello.generation = entry.generation = Generation{3};
        hello.next_seq = hello.oldest_held = Seq{101};
        entry.committed = Seq{90};
        entry.protected_ = true;
        mark.key.generation = Generation{3};
        mark.durable = Seq{100};
    }
    pipeline::DiskWelcome decide(bool with_cache = true) {
        return decide_disk(hello, {.committed = &entry,
                                   .cached = with_cache ? &mark : nullptr,
                                   .damaged_after = damaged ? std::optional(sound) : std::nullopt});
    }
    pipeline::DiskHello hello;
    vault::DiskEntry entry;
    StreamWatermark mark;
    bool damaged = false;
    Seq sound{};
};

TEST_F(DiskDecision, ContinuesAfterWhatTheCacheHolds) {
    const auto welcome = decide();
    EXPECT_EQ(welcome.action, DiskAction::continue_);
    EXPECT_EQ(welcome.durable, Seq{100});
    EXPECT_EQ(welcome.committed, Seq{90});
    EXPECT_EQ(welcome.generation, Generation{3});
    EXPECT_FALSE(welcome.resync_open);
}

TEST_F(DiskDecision, E6_ANewServerLetsTheAgentResendFromCommitted) {
    hello.oldest_held = Seq{91};
    const auto welcome = decide(false);
    EXPECT_EQ(welcome.action, DiskAction::continue_);
    EXPECT_EQ(welcome.durable, Seq{90});
}

TEST_F(DiskDecision, C8_ANewServerCatchesUpWhatTheAgentFreed) {
    hello.oldest_held = Seq{95};
    hello.catch_up_possible = true;
    const auto welcome = decide(false);
    EXPECT_EQ(welcome.action, DiskAction::catch_up);
    EXPECT_EQ(welcome.generation, Generation{3});
    EXPECT_EQ(welcome.durable, Seq{90});
}

// The agent may have ended the fence already: going on from where the cache stands would end it
// over a hole.
TEST_F(DiskDecision, G5AFenceThatLostWhatWasAcknowledgedBeginsAnew) {
    mark.fence = Seq{95};
    mark.base_lost = true;
    hello.catch_up_possible = true;
    const auto welcome = decide();
    EXPECT_EQ(welcome.action, DiskAction::catch_up);
    EXPECT_FALSE(welcome.resync_open);
    hello.catch_up_possible = false;
    EXPECT_EQ(decide().action, DiskAction::resync);
}

TEST_F(DiskDecision, C8_NeverInventsWhatNobodyHolds) {
    hello.oldest_held = Seq{95};
    const auto welcome = decide(false);
    EXPECT_EQ(welcome.action, DiskAction::resync);
    EXPECT_EQ(welcome.generation, Generation{4});  // Its sequences must not come again.
    EXPECT_EQ(welcome.durable, Seq{0});
}

TEST_F(DiskDecision, DamageInTheCacheIsCaughtUpFromTheAgent) {
    damaged = true;
    hello.catch_up_possible = true;
    const auto welcome = decide();
    EXPECT_EQ(welcome.action, DiskAction::catch_up);
    EXPECT_EQ(welcome.durable, Seq{90});
}

TEST_F(DiskDecision, WhatIsPublishedInFrontOfTheDamageIsNotAskedFor) {
    damaged = true;
    hello.catch_up_possible = true;
    sound = Seq{95};
    EXPECT_EQ(decide().durable, Seq{95});
    EXPECT_EQ(decide().committed, Seq{90});
    sound = Seq{85};  // It is in the vault by now.
    EXPECT_EQ(decide().durable, Seq{90});
}

// The cache forgets what it holds beneath a fence as soon as the agent is to repair the disk
// (Spool::take_again): an agent that went on with that fence would end it over a hole.
TEST_F(DiskDecision, G5ADamagedDiskNeverGoesOnWithAFenceThatIsOpen) {
    damaged = true;
    hello.catch_up_possible = true;
    entry.open_fence = Seq{80};
    for (const Seq in_cache : {Seq{0}, Seq{80}, Seq{95}}) {
        mark.fence = in_cache;
        const auto welcome = decide();
        EXPECT_EQ(welcome.action, DiskAction::catch_up);
        EXPECT_FALSE(welcome.resync_open) << raw(in_cache);
        EXPECT_TRUE(welcome.base_durable.empty());
    }
}

TEST_F(DiskDecision, C7_AnAgentThatWentBackInTimeBeginsANewHistory) {
    hello.next_seq = hello.oldest_held = Seq{60};
    const auto welcome = decide();
    EXPECT_EQ(welcome.action, DiskAction::resync);
    EXPECT_EQ(welcome.generation, Generation{4});
    hello.generation = Generation{2};
    EXPECT_EQ(decide().generation, Generation{4});
}

// Its records would be dropped behind those of the later one, which go to the vault first.
TEST_F(DiskDecision, AHistoryIsNotContinuedThatALaterOneInTheCacheReplaces) {
    hello.oldest_held = Seq{200};
    hello.next_seq = Seq{200};
    hello.catch_up_possible = true;
    const auto welcome =
        decide_disk(hello, {.committed = &entry, .cached = &mark, .newest_cached = Generation{4}});
    EXPECT_EQ(welcome.action, DiskAction::resync);
    EXPECT_EQ(welcome.generation, Generation{5});
    EXPECT_NE(welcome.reason.find("replaced by generation 4"), std::string::npos) << welcome.reason;
}

TEST_F(DiskDecision, AnUnusedHistoryIsComparedWithTheOneBefore) {
    hello.generation = Generation{4};
    hello.next_seq = hello.oldest_held = Seq{1};
    const auto welcome = decide(false);
    EXPECT_EQ(welcome.action, DiskAction::resync);
    EXPECT_EQ(welcome.generation, Generation{4});
    hello.size_bytes = gib / 2;  // What lies beyond its end must not shine through.
    EXPECT_EQ(decide(false).action, DiskAction::initial);
}

TEST_F(DiskDecision, AnAgentWithoutAnyStateIsToldFromOneThatLostItsProof) {
    hello.generation = {};
    hello.next_seq = hello.oldest_held = Seq{5000};  // It has used sequences before.
    EXPECT_EQ(decide().generation, Generation{4});
    hello.next_seq = hello.oldest_held = Seq{1};
    const Generation first = decide().generation;
    EXPECT_EQ(pipeline::origin_of(first), pipeline::origin_of(entry.generation) + 1);
    entry.generation = first;
    hello.generation = pipeline::without_history(first);
    hello.next_seq = hello.oldest_held = Seq{5000};
    EXPECT_EQ(decide().generation, Generation{raw(first) + 1});
    hello.generation = {};
    hello.next_seq = hello.oldest_held = Seq{1};
    EXPECT_EQ(pipeline::origin_of(decide().generation), pipeline::origin_of(first) + 1);
    // The first history of a disk has nobody before it.
    EXPECT_EQ(decide_disk(hello, {}).generation, Generation{1});
    // What only the cache knows of counts as well.
    const auto cached =
        decide_disk(hello, {.committed = &entry, .newest_cached = Generation{3ULL << 32}});
    EXPECT_EQ(pipeline::origin_of(cached.generation), 4U);
}

// The old source of a failed-over machine, started again with the state of before, whether or not
// it can prove its history: its content must not become the newest point.
TEST_F(DiskDecision, AStateFromBeforeAnotherAgentTookOverIsRefused) {
    entry.generation = pipeline::first_of_next_origin(Generation{3});
    const auto refused = [&](Generation named, Seq next_seq, const DiskKnowledge& known) {
        hello.generation = named;
        hello.next_seq = hello.oldest_held = next_seq;
        const auto welcome = decide_disk(hello, known);
        EXPECT_EQ(welcome.superseded, welcome.action == DiskAction::reject) << welcome.reason;
        return welcome.superseded;
    };
    const DiskKnowledge in_vault{.committed = &entry};
    EXPECT_TRUE(refused(Generation{3}, Seq{101}, in_vault));
    EXPECT_TRUE(refused(Generation{9}, Seq{1}, in_vault));
    EXPECT_TRUE(refused(Generation{0}, Seq{5000}, in_vault)) << "it lost its proof";
    EXPECT_FALSE(refused(Generation{0}, Seq{1}, in_vault)) << "it begins without a state";
    EXPECT_FALSE(refused(entry.generation, Seq{5000}, in_vault));
    EXPECT_FALSE(refused(pipeline::without_history(entry.generation), Seq{5000}, in_vault));
    EXPECT_FALSE(refused(pipeline::first_of_next_origin(entry.generation), Seq{7}, in_vault));
    // The one that took over may be known to this server's cache alone.
    entry.generation = Generation{3};
    EXPECT_TRUE(refused(Generation{3}, Seq{101},
                        {.committed = &entry, .newest_cached = Generation{(1ULL << 32) + 1}}));
    EXPECT_FALSE(refused(Generation{3}, Seq{101}, in_vault));
}

TEST_F(DiskDecision, NoAgentBringsItsDiskToWhereGenerationsEnd) {
    hello.generation = Generation{UINT64_MAX};
    const auto welcome = decide();
    EXPECT_EQ(welcome.action, DiskAction::reject);
    EXPECT_FALSE(welcome.superseded);
    // Nor to where one of the halves ends: what follows would be of another origin.
    hello.generation = Generation{UINT32_MAX};
    EXPECT_EQ(decide().action, DiskAction::reject);
    // As far as it may, and its disk can still begin anew, and go on with what it was given.
    hello.generation = Generation{(((1ULL << 31) - 1) << 32) + ((1ULL << 31) - 1)};
    for (int i = 0; i < 3; ++i) {
        const auto given = decide();
        ASSERT_NE(given.action, DiskAction::reject) << given.reason;
        entry.generation = given.generation;
        hello.generation = given.generation;
        ASSERT_NE(decide().action, DiskAction::reject) << decide().reason;
        hello.generation = {};
        hello.next_seq = hello.oldest_held = Seq{1};
    }
}

TEST_F(DiskDecision, ASeedIsNamedAsWhatANewAgentIsComparedWith) {
    hello.generation = {};
    hello.next_seq = hello.oldest_held = Seq{1};
    EXPECT_FALSE(decide(false).reason.starts_with("seed: "));
    entry.open_fence = entry.committed;  // A seed's fence is never ended.
    entry.protected_ = false;
    const auto welcome = decide(false);
    EXPECT_EQ(welcome.action, DiskAction::resync);
    EXPECT_TRUE(welcome.reason.starts_with("seed: ")) << welcome.reason;
}

TEST_F(DiskDecision, AUsedHistoryThatNobodyHoldsIsNotContinued) {
    hello.generation = Generation{4};
    hello.next_seq = Seq{50};
    hello.oldest_held = Seq{1};
    const auto welcome = decide(false);
    EXPECT_EQ(welcome.action, DiskAction::resync);
    EXPECT_EQ(welcome.generation, Generation{5});
}

TEST_F(DiskDecision, AnUnknownDiskIsSentWhole) {
    hello.next_seq = hello.oldest_held = Seq{1};
    const auto welcome = decide_disk(hello, {});
    EXPECT_EQ(welcome.action, DiskAction::initial);
    EXPECT_EQ(welcome.generation, Generation{3});
}

TEST_F(DiskDecision, AChangedSizeIsComparedAgain) {
    hello.size_bytes = 2 * gib;
    entry.committed = Seq{100};
    EXPECT_EQ(decide().action, DiskAction::resync);
    EXPECT_TRUE(decide().reason.starts_with("resize: the size changed from"));
    hello.next_seq = Seq{105};  // A RESIZE may be among what it still has to send.
    hello.oldest_held = Seq{101};
    EXPECT_EQ(decide().action, DiskAction::continue_);
}

TEST_F(DiskDecision, AnAgentThatBeginsAnewBecauseOfTheSizeIsToldThatReason) {
    hello.generation = Generation{};
    EXPECT_EQ(decide().reason, "the agent has no history it can prove");
    hello.size_bytes = 2 * gib;
    EXPECT_EQ(decide().action, DiskAction::resync);
    EXPECT_EQ(decide().reason, "resize: the size changed from " + std::to_string(1 * gib) + " to " +
                                   std::to_string(2 * gib) + " bytes");
}

TEST_F(DiskDecision, AnOpenFenceGoesOnFromItsBitmaps) {
    entry.open_fence = Seq{80};
    entry.protected_ = false;
    entry.base_done = {std::byte{0b0000'0011}};
    mark.fence = Seq{80};
    mark.base_ordinals = {2, 9};
    const auto welcome = decide();
    EXPECT_EQ(welcome.action, DiskAction::continue_);
    EXPECT_TRUE(welcome.resync_open);
    EXPECT_EQ(welcome.fence, Seq{80});
    const ByteVector expected{std::byte{0b0000'0111}, std::byte{0b0000'0010}};
    EXPECT_EQ(welcome.base_durable, expected);
    mark.fence = Seq{0};  // Its end is in the cache already.
    EXPECT_FALSE(decide().resync_open);
}

TEST_F(DiskDecision, NonsenseIsRejected) {
    hello.size_bytes = 1000;
    EXPECT_EQ(decide().action, DiskAction::reject);
    hello.size_bytes = 1 * gib;
    hello.next_seq = Seq{0};
    EXPECT_EQ(decide().action, DiskAction::reject);
}

TEST_F(DiskDecision, AnAgentWithoutAHistoryGetsAnUnusedOne) {
    hello.generation = Generation{0};
    entry.generation = Generation{7};
    const auto welcome = decide();
    EXPECT_NE(welcome.action, DiskAction::continue_);
    EXPECT_NE(welcome.action, DiskAction::reject);
    EXPECT_EQ(welcome.generation, Generation{8});
}

TEST(ListedDisks, ADiskTooManyIsRefusedAndThoseThatAreListedAreNot) {
    const auto disk = [](std::size_t number) {
        DiskId id;
        id.bytes[0] = std::byte(number >> 8);
        id.bytes[1] = std::byte(number);
        return id;
    };
    vault::Manifest newest;
    newest.disks.resize(200);
    for (std::size_t i = 0; i < newest.disks.size(); ++i) {
        newest.disks[i].disk = disk(i);
    }
    ListedDisks listed(newest, {disk(199), disk(200)});  // One of them twice.
    for (std::size_t i = 201; i < vault::disks_per_manifest_max; ++i) {
        EXPECT_FALSE(listed.no_room_for(disk(i)));
        listed.add(disk(i));
    }
    EXPECT_TRUE(listed.no_room_for(disk(vault::disks_per_manifest_max)));
    EXPECT_FALSE(listed.no_room_for(disk(7)));
    EXPECT_FALSE(listed.no_room_for(disk(200)));

    pipeline::DiskHello hello;
    hello.size_bytes = 1 * gib;
    hello.next_seq = Seq{1};
    const auto welcome = decide_disk(hello, {.no_room = true});
    EXPECT_EQ(welcome.action, DiskAction::reject);
    EXPECT_NE(welcome.reason.find("256"), std::string::npos) << welcome.reason;
}

}  // namespace
}  // namespace cw::upload
