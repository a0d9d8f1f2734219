// The group's port over real TLS: who gets in, who does not, and that a barrier works across it.
#include "agent/group/group_port.h"

#include "pipeline/group_id.h"
#include "tests/agent/group_rig.h"

#include <chrono>
#include <filesystem>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

constexpr std::int64_t patience_ns = 60 * ns_per_s;

class GroupPorts : public testing::Test {
protected:
    GroupPorts() : directory_(testing::TempDir() + "cw_group_" + std::to_string(::getpid())) {
        std::filesystem::remove_all(directory_);
        for (const char* ca : {"/site", "/other"}) {
            std::filesystem::create_directories(directory_ + ca);
            EXPECT_TRUE(create_ca(directory_ + ca, "test", 3600).has_value());
        }
        a_ = issue("site", "a", Role::machine);
        b_ = issue("site", "b", Role::machine);
    }
    ~GroupPorts() override {
        ports_.clear();
        std::filesystem::remove_all(directory_);
    }
    MachineId issue(const std::string& ca, const std::string& name, Role role) {
        const MachineId id = make_id<MachineId>(*random_);
        EXPECT_TRUE(issue_certificate(directory_ + "/" + ca,
                                      {{role, id.bytes}, name, "127.0.0.1", 3600},
                                      directory_ + "/" + name)
                        .has_value());
        return id;
    }
    TlsFiles files(const std::string& name, const std::string& ca = "site") const {
        return {.ca_file = directory_ + "/" + ca + "/ca.crt",
                .cert_file = directory_ + "/" + name + ".crt",
                .key_file = directory_ + "/" + name + ".key"};
    }
    GroupPort& open(GroupOptions options, const TlsFiles& files) {
        options.hold_ns = 30 * ns_per_s;  // This machine may be busy with other things.
        machines_.push_back(std::make_unique<CounterMachine>(*clock_));
        ports_.push_back(GroupPort::open(std::move(options), files,
                                         {*machines_.back(), *clock_, *random_, [] {}})
                             .value());
        return *ports_.back();
    }
    GroupPort& listen(const TlsFiles& files, MachineId coordinator) {
        return open({.listen = HostPort{"127.0.0.1", 0}, .coordinators = {coordinator}}, files);
    }
    GroupPort& coordinate(const GroupPort& member, MachineId named, const TlsFiles& files) {
        return open(
            {.machine = a_ == named ? b_ : a_, .members = {{named, {"127.0.0.1", member.port()}}}},
            files);
    }
    template <typename Done>
    bool run_until(Done&& done) {
        const Nanos give_up = clock_->boot() + patience_ns;
        while (!done() && clock_->boot() - give_up < 0) {
            std::vector<pollfd> waiting;
            for (const auto& port : ports_) {
                port->step();
                port->watch(waiting);
            }
            ::poll(waiting.data(), waiting.size(), 5);
        }
        return done();
    }
    // One barrier's outcome, begun when the coordinator is connected or when it never will be.
    Result<GroupCoordinator::Made> barrier(GroupPort& from) {
        EXPECT_TRUE(from.coordinator()->begin("t"));
        EXPECT_TRUE(run_until([&] { return !from.coordinator()->running(); }));
        return from.coordinator()->outcome().value();
    }
    const std::string directory_;
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::unique_ptr<Random> random_ = make_seeded_random(5);
    MachineId a_, b_;
    std::vector<std::unique_ptr<CounterMachine>> machines_;
    std::vector<std::unique_ptr<GroupPort>> ports_;
};

TEST_F(GroupPorts, CarryABarrierBetweenMachinesThatKnowEachOther) {
    GroupPort& member = listen(files("b"), a_);
    GroupPort& coordinator = coordinate(member, b_, files("a"));
    ASSERT_TRUE(run_until([&] { return coordinator.connected() == 1; }));
    for (int i = 0; i < 3; ++i) {
        const auto made = barrier(coordinator);
        ASSERT_TRUE(made.has_value()) << to_string(made.error());
        EXPECT_TRUE(pipeline::are_group_members(made->barrier, std::vector{a_, b_}));
        EXPECT_TRUE(machines_[0]->decided.at(made->barrier));
        EXPECT_TRUE(machines_[1]->decided.at(made->barrier));
    }
    // The member goes away and comes back on the same port.
    const HostPort address{"127.0.0.1", member.port()};
    ports_[0].reset();
    std::swap(ports_[0], ports_[1]);
    ports_.pop_back();
    GroupPort& left = *ports_[0];
    ASSERT_TRUE(run_until([&] { return left.connected() == 0; }));
    EXPECT_EQ(barrier(left).error().code, Errc::group_incomplete);
    open({.listen = address, .coordinators = {a_}}, files("b"));
    ASSERT_TRUE(run_until([&] { return left.connected() == 1; }));
    EXPECT_TRUE(barrier(left).has_value());
}

// Nobody of these may hold the machine for a moment.
TEST_F(GroupPorts, LetNobodyInWhoIsNotNamed) {
    issue("site", "c", Role::machine);
    issue("site", "ps", Role::process_server);
    issue("other", "x", Role::machine);
    GroupPort& member = listen(files("b"), a_);
    struct Case {
        const char* what;
        TlsFiles files;
        MachineId named;
    };
    const std::vector<Case> cases{
        {"a machine that is not a coordinator", files("c"), b_},
        {"a process server", files("ps"), b_},
        {"a machine of another site", files("x"), b_},
        {"a machine of another site that trusts ours", files("x", "other"), b_},
        {"a member that is another machine than named", files("a"), a_},
    };
    for (const Case& each : cases) {
        GroupPort& stranger = coordinate(member, each.named, each.files);
        // It may believe for a moment that it is connected: then it tries to use that.
        bool began = false;
        EXPECT_TRUE(run_until([&] {
            began = began || (stranger.connected() == 1 && stranger.coordinator()->begin(""));
            return stranger.trouble().has_value() && !stranger.coordinator()->running();
        })) << each.what;
        EXPECT_FALSE(barrier(stranger).has_value()) << each.what;
        ports_.pop_back();
    }
    EXPECT_TRUE(machines_[0]->cuts.empty());
}

TEST_F(GroupPorts, DropWhoSpeaksNoTls) {
    GroupPort& member = listen(files("b"), a_);
    const Fd socket = connect_tcp({"127.0.0.1", member.port()}, 10'000).value();
    ASSERT_GT(::send(socket.get(), "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 0);
    char answer[256];
    EXPECT_TRUE(run_until([&] {
        const ssize_t n = ::recv(socket.get(), answer, sizeof answer, MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno == ECONNRESET);
    }));
}

TEST_F(GroupPorts, RefuseOptionsThatLetNobodyInOrNameAMemberTwice) {
    const auto refused = [&](GroupOptions options) {
        CounterMachine machine(*clock_);
        const auto port =
            GroupPort::open(std::move(options), files("a"), {machine, *clock_, *random_, [] {}});
        return !port && port.error().code == Errc::usage;
    };
    EXPECT_TRUE(refused({.listen = HostPort{"127.0.0.1", 0}}));
    EXPECT_TRUE(refused({.members = {{b_, {"127.0.0.1", 1}}, {b_, {"127.0.0.1", 2}}}}));
    EXPECT_TRUE(refused({.machine = b_, .members = {{b_, {"127.0.0.1", 1}}}}));
}

}  // namespace
}  // namespace cw::agent::test
