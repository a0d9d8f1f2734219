// What a master target holds, as the verbs see it: points of all targets, names, order; records.
#include "appliance/master_target/target_catalog.h"

#include "appliance/control_client.h"
#include "appliance/operator/jobs.h"
#include "appliance/site_records.h"
#include "egress/volume/undo_log.h"
#include "pipeline/group_id.h"
#include "recovery/group_table.h"

#include <atomic>
#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class TargetCatalogTest : public testing::Test {
protected:
    TargetCatalogTest() {
        std::string path = testing::TempDir() + "/causeway-targets.XXXXXX";
        directory_ = ::mkdtemp(path.data());
        machine_ = make_id<MachineId>(*seams_.random);
        settings_.server_role = "master-target";
        settings_.server_state_dir = directory_ + "/state";
        for (const char* disk : {"root", "data"}) {
            settings_.targets.push_back({.machine = to_string(machine_),
                                         .disk = disk,
                                         .path = directory_ + "/" + disk + ".img",
                                         .identity = {},
                                         .work = {}});
        }
    }
    ~TargetCatalogTest() override { std::filesystem::remove_all(directory_); }

    volume::HeldPoint point(std::int64_t seconds, pipeline::PointKind kind = {}) {
        volume::HeldPoint out;
        out.id = make_id<PointId>(*seams_.random);
        out.generation = Generation{3};
        out.source_time = WallMicros{seconds * 1'000'000};
        out.kind = kind == pipeline::PointKind{} ? pipeline::PointKind::crash : kind;
        out.tag = "t" + std::to_string(seconds);
        return out;
    }
    // A work directory as its writer leaves it: `points` oldest first, the last one held.
    void collected(const std::string& disk, const std::vector<volume::HeldPoint>& points,
                   const MachineId& machine = {}) {
        const std::string work = settings_.server_state_dir + "/targets/" +
                                 to_string(machine.is_nil() ? machine_ : machine) + "/" + disk;
        ASSERT_TRUE(seams_.disk->create_directories(work));
        volume::VolumeState state;
        state.disk = make_id<DiskId>(*seams_.random);
        state.size_bytes = 1 * mib;
        state.log_number = points.size();
        state.point = points.back();
        state.machine_name = machine.is_nil() ? "web-1" : "web-2";
        for (std::uint64_t number = 1; number < points.size(); ++number) {
            auto log = volume::UndoLog::create(
                *seams_.disk, work + "/undo." + std::to_string(number), number, points[number - 1]);
            ASSERT_TRUE(log && (*log)->finish());
        }
        ASSERT_TRUE(volume::write_volume_state(*seams_.disk, work + "/state", state));
    }
    Result<OpenedCatalog> opened() {
        return open_catalog(settings_, seams_, to_string(machine_), false);
    }

    SystemSeams seams_ = make_system_seams();
    std::string directory_;
    MachineId machine_;
    config::Settings settings_{};
};

TEST_F(TargetCatalogTest, APointIsOneOfAllTheTargets) {
    ASSERT_TRUE(make_site_records(settings_, seams_));
    const auto one = point(1), two = point(2, pipeline::PointKind::app), three = point(3);
    collected("root", {one, two, three});
    EXPECT_TRUE(opened()->catalog->points().empty());  // Nothing was begun at the other.
    collected("data", {two, three});
    const auto catalog = opened();
    ASSERT_TRUE(catalog) << to_string(catalog.error());
    const auto points = catalog->catalog->points();
    ASSERT_EQ(points.size(), 2U);
    EXPECT_EQ(points[0]->id, two.id);
    EXPECT_EQ(points[0]->tag, "t2");
    EXPECT_EQ(catalog->catalog->state().newest.machine_name, "web-1");
    EXPECT_EQ(catalog->catalog->find_point("latest").value()->id, three.id);
    EXPECT_EQ(catalog->catalog->find_point("latest-app").value()->id, two.id);
    std::vector<std::string> names;
    for (const auto& cut : points[1]->cuts) {
        names.push_back(catalog->catalog->disk_at(cut).name);
    }
    EXPECT_THAT(names, ElementsAre("root", "data"));
}

TEST_F(TargetCatalogTest, TheOrderIsTheTargetsWhateverTheClockOfTheSourceDid) {
    ASSERT_TRUE(make_site_records(settings_, seams_));
    settings_.targets.pop_back();
    const auto first = point(100), second = point(50), third = point(60);
    collected("root", {first, second, third});
    const auto catalog = opened();
    ASSERT_TRUE(catalog);
    EXPECT_EQ(catalog->catalog->find_point("latest").value()->id, third.id);
    EXPECT_EQ(catalog->catalog->points()[0]->id, first.id);
}

TEST_F(TargetCatalogTest, RecordsAreMadeOnceAndKeepJobsAndStates) {
    EXPECT_EQ(opened().error().code, Errc::vault_missing);
    ASSERT_TRUE(make_site_records(settings_, seams_));
    collected("root", {point(1)});
    collected("data", {point(2)});
    const VaultId first = opened()->access.identity.id;
    ASSERT_TRUE(make_site_records(settings_, seams_));
    const auto catalog = opened();
    ASSERT_TRUE(catalog);
    EXPECT_EQ(catalog->access.identity.id, first);
    auto signer = vault::make_server_signer(*catalog->store, *catalog->access.kek, *seams_.random,
                                            make_id<ServerId>(*seams_.random));
    ASSERT_TRUE(signer);
    MachineRecords records(*catalog->store, catalog->access.identity, std::move(*signer));
    auto run = JobRun::begin(records, *seams_.clock, *seams_.random,
                             {.machine = machine_, .verb = Verb::failover});
    ASSERT_TRUE(run && run->end({}));
    EXPECT_EQ(MachineRecords(*catalog->store, catalog->access.identity).load(machine_)->state,
              MachineState::failed_over);
}

TEST_F(TargetCatalogTest, AGroupsPointIsOneWhileEveryMemberHoldsItsPart) {
    ASSERT_TRUE(make_site_records(settings_, seams_));
    const auto other = make_id<MachineId>(*seams_.random);
    settings_.targets.push_back({.machine = to_string(other),
                                 .disk = "root",
                                 .path = directory_ + "/other.img",
                                 .identity = {},
                                 .work = {}});
    const std::vector members{machine_, other};
    const auto in_group = [&](std::int64_t seconds, const GroupId& group, bool provisional) {
        auto out = point(seconds);
        out.group = group;
        out.provisional = provisional;
        return out;
    };
    const GroupId whole = pipeline::make_group_id(members, *seams_.random);
    const GroupId undecided = pipeline::make_group_id(members, *seams_.random);
    const auto one = in_group(1, whole, false), two = in_group(2, undecided, false);
    auto not_told = two;
    not_told.provisional = true;
    collected("root", {one, two});
    collected("data", {one, not_told});  // This target was not there to hear of it.
    collected("root", {in_group(1, whole, false), in_group(2, undecided, false)}, other);
    const auto catalog = opened();
    ASSERT_TRUE(catalog) << to_string(catalog.error());
    recovery::GroupTable table;
    const std::vector<MachineId> machines = catalog->site->machines().value();
    EXPECT_THAT(machines, ElementsAre(machine_, other));
    for (const MachineId& machine : machines) {
        table.add(catalog->site->open(machine, false).value());
    }
    EXPECT_TRUE(table.judge(whole).whole);
    EXPECT_EQ(table.point_of(machine_, whole)->id, one.id);
    EXPECT_FALSE(table.judge(undecided).whole);
    EXPECT_THAT(table.judge(undecided).without, ElementsAre(machine_));
    EXPECT_EQ(table.name_of(other), "web-2");
    EXPECT_EQ(catalog->catalog->points().size(), 2U);  // It is a point of the machine all the same.
}

TEST_F(TargetCatalogTest, AMachineWithoutATargetIsNotFound) {
    ASSERT_TRUE(make_site_records(settings_, seams_));
    const auto other =
        open_catalog(settings_, seams_, to_string(make_id<MachineId>(*seams_.random)), false);
    EXPECT_EQ(other.error().code, Errc::not_found);
    EXPECT_THAT(opened()->site->machines().value(), ElementsAre(machine_));
}

// Listens as a daemon does that was stopped: the kernel takes connections, and nobody answers.
class StoppedDaemon {
public:
    explicit StoppedDaemon(const std::string& path)
        : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        EXPECT_LT(path.size(), sizeof address.sun_path);
        path.copy(address.sun_path, path.size());
        EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(fd_, 16), 0);
    }
    ~StoppedDaemon() { ::close(fd_); }
    StoppedDaemon(const StoppedDaemon&) = delete;
    StoppedDaemon& operator=(const StoppedDaemon&) = delete;
    int times_asked() {
        for (int one = ::accept(fd_, nullptr, nullptr); one >= 0;
             one = ::accept(fd_, nullptr, nullptr)) {
            ::close(one);
            ++asked_;
        }
        return asked_;
    }

private:
    int fd_;
    int asked_ = 0;
};

TEST_F(TargetCatalogTest, ADaemonThatStandsStillIsAskedOnceAndNotForLong) {
    ASSERT_TRUE(make_site_records(settings_, seams_));
    const MachineId other = make_id<MachineId>(*seams_.random);
    settings_.targets[1].machine = to_string(other);
    const auto one = point(1), two = point(2);
    collected("root", {one});
    collected("data", {two}, other);
    StoppedDaemon daemon(settings_.server_state_dir + "/control.sock");
    const Nanos begun = seams_.clock->boot();
    const auto catalog = opened();
    ASSERT_TRUE(catalog) << to_string(catalog.error());
    EXPECT_EQ(catalog->catalog->points().size(), 1U);
    EXPECT_EQ(catalog->site->open(other, false)->points().size(), 1U);
    // Nobody may take what its points show for all there is.
    EXPECT_FALSE(catalog->site->knows_all_received());
    EXPECT_EQ(daemon.times_asked(), 1);
    EXPECT_LT(seams_.clock->boot() - begun, (order_s_max - 1) * ns_per_s);
}

TEST_F(TargetCatalogTest, AnErrorSaysWhetherThereIsNoDaemonOrItStandsStill) {
    ASSERT_TRUE(seams_.disk->create_directories(settings_.server_state_dir));
    const ControlClient client{settings_.server_state_dir + "/control.sock", 1};
    const auto none = client.get("status");
    EXPECT_EQ(none.error().code, Errc::unreachable);
    EXPECT_THAT(none.error().detail, AllOf(HasSubstr("no daemon listens on " + client.socket_path),
                                           HasSubstr("systemctl start causewayd")));
    StoppedDaemon daemon(client.socket_path);
    const auto silent = client.get("status");
    EXPECT_EQ(silent.error().code, Errc::unreachable);
    EXPECT_THAT(silent.error().detail, AllOf(HasSubstr("gave no answer within 1 s"),
                                             HasSubstr("systemctl status causewayd")));
}

TEST_F(TargetCatalogTest, AnErrorSaysThatTheDaemonEndedTheConnectionAndNotThatItWasWaitedFor) {
    ASSERT_TRUE(seams_.disk->create_directories(settings_.server_state_dir));
    const ControlClient client{settings_.server_state_dir + "/control.sock"};
    StoppedDaemon daemon(client.socket_path);
    std::atomic<bool> ended = false;
    std::thread dying([&] {  // What a daemon that dies does: it closes whatever it has taken.
        while (!ended) {
            daemon.times_asked();
            std::this_thread::yield();
        }
    });
    const auto order = client.post("resync", "{}");
    ended = true;
    dying.join();
    EXPECT_EQ(order.error().code, Errc::unreachable);
    EXPECT_THAT(order.error().detail,
                AllOf(HasSubstr("ended the connection after "), HasSubstr("without an answer"),
                      HasSubstr("systemctl status causewayd"), Not(HasSubstr("120 s"))));
}

}  // namespace
}  // namespace cw::appliance
