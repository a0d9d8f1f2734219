// A protected machine whose agent is not heard any more is seen, and one that is heard is not.
#include "appliance/agent_watch.h"

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using ingest::AgentNotice;
constexpr std::int64_t limit = 900 * ns_per_s;

class AgentWatchTest : public ::testing::Test {
protected:
    void hear(AgentNotice::Kind kind, std::uint32_t session, bool planned = false) {
        AgentNotice notice;
        notice.kind = kind;
        notice.machine = machine_.machine;
        notice.session = SessionId{session};
        notice.planned_failover = planned;
        watch_.heard(notice);
    }
    bool silent_after(std::int64_t ns) {
        clock_.advance(ns);
        watch_.watch({machine_}, limit);
        return conditions_.standing(Errc::agent_silent);
    }

    ManualClock clock_;
    Conditions conditions_{clock_};
    upload::MachineStatus machine_{};
    AgentWatch watch_{clock_, conditions_};
};

TEST_F(AgentWatchTest, AMachineThatIsNotHeardAfterAStartIsSilent) {
    EXPECT_FALSE(silent_after(limit - 1));
    EXPECT_TRUE(silent_after(1));
    hear(AgentNotice::Kind::connected, 1);
    EXPECT_FALSE(silent_after(0));
}

TEST_F(AgentWatchTest, C14_SilenceBeginsWhenTheLastSessionEnds) {
    hear(AgentNotice::Kind::connected, 1);
    EXPECT_FALSE(silent_after(10 * limit));
    hear(AgentNotice::Kind::closed, 1);
    EXPECT_FALSE(watch_.agent_of(machine_.machine).connected);
    EXPECT_FALSE(silent_after(limit - 1));
    EXPECT_TRUE(silent_after(1));
    ASSERT_EQ(conditions_.list().size(), 1U);
    EXPECT_EQ(conditions_.list().front().code, Errc::agent_silent);
    hear(AgentNotice::Kind::connected, 2);
    EXPECT_FALSE(silent_after(0));
    EXPECT_TRUE(conditions_.list().empty());
}

TEST_F(AgentWatchTest, TheLateEndOfAReplacedSessionSilencesNobody) {
    hear(AgentNotice::Kind::connected, 1);
    hear(AgentNotice::Kind::connected, 2);
    hear(AgentNotice::Kind::closed, 1);
    EXPECT_TRUE(watch_.agent_of(machine_.machine).connected);
    EXPECT_FALSE(silent_after(10 * limit));
}

TEST_F(AgentWatchTest, APlannedFailoverAndAnotherServersMachineMaySilent) {
    hear(AgentNotice::Kind::connected, 1);
    hear(AgentNotice::Kind::goodbye, 1, true);
    hear(AgentNotice::Kind::closed, 1);
    EXPECT_FALSE(silent_after(10 * limit));
    hear(AgentNotice::Kind::connected, 2);
    hear(AgentNotice::Kind::closed, 2);
    EXPECT_TRUE(silent_after(limit));
    machine_.mode = upload::MachineMode::fenced;
    EXPECT_FALSE(silent_after(0));
}

TEST_F(AgentWatchTest, AnAgentThatDegradesIsShownSo) {
    hear(AgentNotice::Kind::connected, 1);
    AgentNotice notice;
    notice.kind = AgentNotice::Kind::mode;
    notice.machine = machine_.machine;
    notice.session = SessionId{1};
    notice.mode = wire::ReplicationMode::bitmap;
    notice.backlog_bytes = 4096;
    notice.reason = "spool full";
    watch_.heard(notice);
    const AgentStatus agent = watch_.agent_of(machine_.machine);
    EXPECT_EQ(name_of(agent.mode), "bitmap");
    EXPECT_EQ(agent.backlog_bytes, 4096U);
    EXPECT_EQ(agent.reason, "spool full");
}

TEST_F(AgentWatchTest, ListsOfWhatIsUnreadHoldUntilTheNextModeOrSession) {
    hear(AgentNotice::Kind::connected, 1);
    AgentNotice mode;
    mode.kind = AgentNotice::Kind::mode;
    mode.machine = machine_.machine;
    mode.session = SessionId{1};
    mode.mode = wire::ReplicationMode::metadata;
    watch_.heard(mode);
    AgentNotice list = mode;
    list.kind = AgentNotice::Kind::extents;
    list.disk.bytes.fill(std::byte{1});
    list.unread_bytes = 8192;
    list.unread_ranges = 2;
    watch_.heard(list);
    list.unread_bytes = 4096;
    list.unread_ranges = 1;
    watch_.heard(list);
    const auto unread = watch_.agent_of(machine_.machine).unread;
    ASSERT_EQ(unread.size(), 1U);
    EXPECT_EQ(unread.at(list.disk).bytes, 4096U);
    EXPECT_EQ(unread.at(list.disk).ranges, 1U);
    EXPECT_EQ(watch_.agent_of(machine_.machine).mode, wire::ReplicationMode::metadata);
    watch_.heard(mode);
    EXPECT_TRUE(watch_.agent_of(machine_.machine).unread.empty());
    watch_.heard(list);
    hear(AgentNotice::Kind::connected, 2);
    EXPECT_TRUE(watch_.agent_of(machine_.machine).unread.empty());
}

class ResyncNotices : public AgentWatchTest {
protected:
    void hear_of_disk(AgentNotice::Kind kind, const std::string& reason,
                      wire::ResyncKind resync = {}) {
        AgentNotice notice;
        notice.kind = kind;
        notice.machine = machine_.machine;
        notice.session = SessionId{1};
        notice.disk = disk_;
        notice.subject = "web1/vda";
        notice.reason = reason;
        notice.resync = resync;
        watch_.heard(notice);
    }
    [[nodiscard]] bool stands() const { return conditions_.standing(Errc::resync_required); }
    AgentStatus agent() { return watch_.agent_of(machine_.machine); }

    const DiskId disk_{{std::byte{7}}};
};

TEST_F(ResyncNotices, TheReasonStandsFromTheBeginToTheEndOfAResync) {
    hear(AgentNotice::Kind::connected, 1);
    hear_of_disk(AgentNotice::Kind::resync_begin, "resize", wire::ResyncKind::resync);
    EXPECT_TRUE(stands());
    EXPECT_EQ(agent().resyncs.at(disk_), "resize");
    hear(AgentNotice::Kind::connected, 2);  // The fence goes on in another session.
    EXPECT_TRUE(stands());
    EXPECT_EQ(agent().resyncs.at(disk_), "resize");
    hear_of_disk(AgentNotice::Kind::resync_end, "");
    EXPECT_FALSE(stands());
}

TEST_F(ResyncNotices, WhatIsSentForTheFirstTimeOrCaughtUpWithIsNoFault) {
    hear_of_disk(AgentNotice::Kind::resync_begin, "new here", wire::ResyncKind::initial);
    hear_of_disk(AgentNotice::Kind::resync_begin, "a gap", wire::ResyncKind::catch_up);
    EXPECT_FALSE(stands());
    EXPECT_EQ(agent().resyncs.at(disk_), "a gap");
}

TEST_F(ResyncNotices, ARequiredResyncIsShownUntilItBeginsOrTheAgentSaysOtherwise) {
    hear(AgentNotice::Kind::connected, 1);
    hear_of_disk(AgentNotice::Kind::resync_required, "half of it");
    EXPECT_EQ(agent().required.at(disk_), "half of it");
    hear_of_disk(AgentNotice::Kind::resync_begin, "half of it", wire::ResyncKind::resync);
    EXPECT_TRUE(agent().required.empty());
    hear_of_disk(AgentNotice::Kind::resync_required, "half of it");
    hear(AgentNotice::Kind::connected, 3);  // It says so again, or it does not.
    EXPECT_TRUE(agent().required.empty());
}

TEST_F(ResyncNotices, AMachineThatIsAnothersIsNotOurFault) {
    hear_of_disk(AgentNotice::Kind::resync_required, "half of it");
    hear_of_disk(AgentNotice::Kind::resync_begin, "half of it", wire::ResyncKind::resync);
    machine_.mode = upload::MachineMode::fenced;
    watch_.watch({machine_}, limit);
    EXPECT_FALSE(stands());
}

}  // namespace
}  // namespace cw::appliance
