// What a session tells and asks of a resync: orders, reasons, digests of two levels.
#include "pipeline/fence.h"
#include "tests/ingest/session_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using ingest::AgentNotice;
using wire::FrameType;

class ResyncTest : public testing::Test {
protected:
    void open(pipeline::DiskAction action = pipeline::DiskAction::continue_) {
        rig = std::make_unique<SessionRig>(server);
        rig->open(plain_hello(), action);
    }
    std::vector<AgentNotice> notices(AgentNotice::Kind kind) {
        std::vector<AgentNotice> out;
        for (const AgentNotice& notice : rig->session->outbox().notices) {
            if (notice.kind == kind) {
                out.push_back(notice);
            }
        }
        return out;
    }

    ServerRig server;
    std::unique_ptr<SessionRig> rig;
};

TEST_F(ResyncTest, WelcomeOffersWhatTheServerDoes) {
    open();
    EXPECT_EQ(rig->answer_of(FrameType::welcome).as<wire::Welcome>().features,
              wire::feature_summaries | wire::feature_own_sequences);
    server.keeps_resync_orders = true;
    open();
    EXPECT_EQ(rig->answer_of(FrameType::welcome).as<wire::Welcome>().features,
              wire::feature_summaries | wire::feature_own_sequences | wire::feature_resync_orders);
}

TEST_F(ResyncTest, C6ADisksFirstFrameMayLeaveSequencesOutWhateverItWasTold) {
    using enum pipeline::DiskAction;
    for (const auto action : {continue_, initial, resync, catch_up}) {
        open(action);
        rig->feed(resync_begin_frame(rig->at(1ULL << 40), wire::ResyncKind::catch_up));
        rig->feed(write_frame(rig->at((1ULL << 40) + 1), {{}}));
        EXPECT_EQ(rig->records.size(), 2U);
    }
}

TEST_F(ResyncTest, C6NoOtherFrameMayLeaveSequencesOut) {
    open();
    rig->feed(write_frame(rig->at(1), {{}}));
    (void)rig->answers();
    rig->feed(resync_begin_frame(rig->at(500), wire::ResyncKind::catch_up));
    EXPECT_EQ(rig->answer_of(FrameType::nak).as<wire::Nak>().expected, Seq{2});
    open();
    (void)rig->answers();
    rig->feed(write_frame(rig->at(500), {{}}));
    EXPECT_EQ(rig->answer_of(FrameType::nak).as<wire::Nak>().expected, Seq{1});
}

TEST_F(ResyncTest, AFenceThatResumesIsTakenWhereItFollows) {
    using wire::ResyncKind::resume;
    const auto fence = [this](std::uint64_t seq, std::uint32_t follows) {
        Place place = rig->at(seq);
        place.ordinal = follows;
        rig->feed(resync_begin_frame(place, resume));
    };
    for (const std::uint64_t leap : {std::uint64_t{0}, std::uint64_t{1} << 40}) {
        open();
        fence(1 + leap, 0);
        ASSERT_EQ(rig->records.size(), 1U);
        rig->feed(write_frame(rig->at(2 + leap), {{}}));
        const std::uint64_t newest = 2 + leap;
        fence(newest + 1, static_cast<std::uint32_t>(newest));
        ASSERT_EQ(rig->records.size(), 3U);
        EXPECT_TRUE(pipeline::resumes_at(rig->records[2], Seq{newest}));
        EXPECT_FALSE(pipeline::resumes_at(rig->records[2], Seq{newest - 1}));
        (void)rig->answers();
        fence(newest + 2, static_cast<std::uint32_t>(newest));
        EXPECT_EQ(rig->answer_of(FrameType::nak).as<wire::Nak>().reason, wire::NakReason::gap);
        EXPECT_EQ(rig->records.size(), 3U);
    }
}

TEST_F(ResyncTest, G5ACatchUpIsKeptWithTheEndThatItsAgentWasToldOf) {
    open();
    rig->feed(write_frame(rig->at(1), {{}}));
    rig->feed(resync_begin_frame(rig->at(2), wire::ResyncKind::catch_up));
    ASSERT_EQ(rig->records.size(), 2U);
    EXPECT_TRUE(pipeline::covers_above(rig->records[1], Seq{1}));
    EXPECT_FALSE(pipeline::covers_above(rig->records[1], Seq{0}));
    EXPECT_FALSE(pipeline::covers_above(rig->records[1], Seq{2}));
}

TEST_F(ResyncTest, AFenceThatResumesIsNoAnswerToADemandForOne) {
    using enum pipeline::DiskAction;
    for (const auto action : {initial, resync, catch_up}) {
        open(action);
        (void)rig->answers();
        rig->feed(resync_begin_frame(rig->at(1), wire::ResyncKind::resume));
        EXPECT_EQ(rig->answer_of(FrameType::nak).as<wire::Nak>().reason,
                  wire::NakReason::generation);
        EXPECT_TRUE(rig->records.empty());
    }
}

TEST_F(ResyncTest, AFenceThatCoversEverythingFollowsNothing) {
    open();
    Place place = rig->at(1);
    place.ordinal = 1;
    rig->feed(resync_begin_frame(place, wire::ResyncKind::catch_up));
    EXPECT_EQ(rig->error_code(), Errc::frame_malformed);
}

TEST_F(ResyncTest, ARequiredResyncBecomesANotice) {
    open();
    rig->feed(message_frame(FrameType::resync_required, rig->session->id(),
                            wire::ResyncRequired{3 * gib, "half of it"}, 0));
    const auto told = notices(AgentNotice::Kind::resync_required);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].disk, id_of<DiskId>(1));
    EXPECT_EQ(told[0].unread_bytes, 3 * gib);
    EXPECT_EQ(told[0].reason, "half of it");
    EXPECT_TRUE(rig->session->live());
}

TEST_F(ResyncTest, OfADiskThatWasNotNamedItEndsTheSession) {
    open();
    rig->feed(message_frame(FrameType::resync_required, rig->session->id(),
                            wire::ResyncRequired{1, ""}, 200));
    EXPECT_FALSE(rig->session->live());
}

TEST_F(ResyncTest, BeginAndEndOfAFenceAreTold) {
    open(pipeline::DiskAction::resync);
    rig->feed(resync_begin_frame(rig->at(1), wire::ResyncKind::resync));
    const auto begun = notices(AgentNotice::Kind::resync_begin);
    ASSERT_EQ(begun.size(), 1U);
    EXPECT_EQ(begun[0].disk, id_of<DiskId>(1));
    EXPECT_EQ(begun[0].resync, wire::ResyncKind::resync);
    EXPECT_EQ(begun[0].reason, "test");
    EXPECT_TRUE(begun[0].subject.ends_with("/" + plain_hello().disks[0].name));
    EXPECT_TRUE(notices(AgentNotice::Kind::resync_end).empty());
    rig->feed(empty_frame(FrameType::resync_end, rig->at(2)));
    EXPECT_EQ(notices(AgentNotice::Kind::resync_end).size(), 1U);
}

TEST_F(ResyncTest, SummariesAreMadeOfTheBlocksThatAreKnown) {
    open();
    rig->feed(message_frame(FrameType::summaries_request, rig->session->id(),
                            wire::SummariesRequest{3, 2}, 0));
    ASSERT_EQ(rig->session->outbox().digests.size(), 1U);
    const ingest::DigestRequest request = rig->session->outbox().digests.front();
    EXPECT_EQ(request.first_block, 192U);
    EXPECT_EQ(request.count, 128U);
    EXPECT_TRUE(request.summaries);
    std::vector<bool> known(128, false);
    known[0] = known[63] = known[64] = true;
    std::vector<Fingerprint> fingerprints(3);
    fingerprints[1].fill(std::byte{1});
    fingerprints[2].fill(std::byte{2});
    rig->session->on_digests({.machine = request.machine,
                              .session = request.session,
                              .slot = request.slot,
                              .first_block = request.first_block,
                              .known = known,
                              .fingerprints = fingerprints,
                              .summaries = true});
    const auto told = rig->answer_of(FrameType::summaries).as<wire::Summaries>();
    EXPECT_EQ(told.first, 3U);
    ASSERT_EQ(told.entries.size(), 2U);
    EXPECT_EQ(told.entries[0].known, 0x8000'0000'0000'0001);
    EXPECT_EQ(told.entries[1].known, 1U);
    const FingerprintSecret secret{};  // As the rig's control told it.
    const auto both = std::span<const Fingerprint>(fingerprints);
    EXPECT_EQ(told.entries[0].digest, wire::summarise(3, both.first(2), secret).digest);
    EXPECT_EQ(told.entries[1].digest, wire::summarise(1, both.last(1), secret).digest);
    EXPECT_NE(told.entries[0].digest, told.entries[1].digest);
}

TEST_F(ResyncTest, WithoutADigestSourceNothingIsKnown) {
    server.has_digests = false;
    open();
    rig->feed(message_frame(FrameType::summaries_request, rig->session->id(),
                            wire::SummariesRequest{0, 64}, 0));
    const auto told = rig->answer_of(FrameType::summaries).as<wire::Summaries>();
    ASSERT_EQ(told.entries.size(), 64U);
    EXPECT_EQ(told.entries[5].known, 0U);
    EXPECT_EQ(told.entries[5].digest, Fingerprint{});
}

}  // namespace
}  // namespace cw::test
