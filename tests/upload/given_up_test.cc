// A draft that would break its machine's chain: the publisher and the opener, with the test in the
// place of assembly, which never sends such steps.
#include "egress/upload/open_stage.h"
#include "egress/upload/publish_stage.h"
#include "tests/upload/publish_fixture.h"

namespace cw::upload::test {
namespace {

class GivenUp : public testing::Test {
protected:
    GivenUp() { listener.fenced_for = Errc::internal; }
    pipeline::MachineOpened hello(const Source& of) {
        OpenCommand command;
        command.open.machine = of.machine;
        command.open.session = SessionId{++session};
        command.open.token = session;
        command.open.disks.push_back({.disk = of.disks[0].id,
                                      .size_bytes = of.disks[0].content.size(),
                                      .generation = Generation{1},
                                      .next_seq = Seq{1},
                                      .oldest_held = Seq{1},
                                      .name = "disk"});
        commands.post(std::move(command));
        EXPECT_TRUE(run_until([this] {
            return !listener.answers.empty() && listener.answers.back().token == session;
        }));
        return listener.answers.back();
    }
    template <typename Predicate>
    bool run_until(Predicate done) {
        for (int i = 0; i < 1000 && !done(); ++i) {
            publisher.step(16);
            opener.step(16);
            world.clock.advance(ns_per_ms);
            PublishEvent event;
            while (replies.receive(event)) {
                if (const auto* const ready = std::get_if<MachineReady>(&event.what)) {
                    openings[event.machine] = ready->opening;
                }
                discarded += std::holds_alternative<MachineStopped>(event.what) &&
                                     std::get<MachineStopped>(event.what).discard
                                 ? 1
                                 : 0;
            }
        }
        return done();
    }
    void send(const Source& of, decltype(AssemblyEvent::what) what) {
        events.send({of.machine, openings.at(of.machine), std::move(what)});
    }
    // Two segments of one name, of which no manifest may tell.
    void send_doubled_name(const Source& of) {
        SegmentStored stored{.step = StepId{2}, .ref = {}, .put_started = {}, .times = {}};
        stored.ref.name.disk = of.disks[0].id;
        stored.ref.name.generation = Generation{1};
        stored.ref.name.first_seq = stored.ref.last_seq = Seq{1};
        for (std::uint64_t id = 1; id <= 3; ++id) {
            Step step;
            step.id = StepId{id};
            step.kind = id == 1 ? StepKind::generation : StepKind::segment;
            step.disk = of.disks[0].id;
            step.generation = Generation{1};
            step.seq = Seq{id - 1};
            send(source, std::move(step));
        }
        send(source, stored);
        stored.step = StepId{3};
        send(source, stored);
    }
    bool stands(Errc code, const Source& of) {
        return std::ranges::any_of(conditions.list(), [&](const Condition& condition) {
            return condition.code == code &&
                   condition.subject == "machine " + to_string(of.machine);
        });
    }
    std::size_t manifests() {
        return static_cast<std::size_t>(
            std::ranges::count_if(world.vault->names(), [](const blob::BlobName& name) {
                return name.container == blob::Container::manifest;
            }));
    }

    World world{7};
    EngineOptions options = publish_options();
    CacheModel cache;
    Listener listener{cache};
    Conditions conditions{world.clock};
    std::unique_ptr<MetricRegistry> metrics = make_metric_registry();
    std::unique_ptr<blob::StoreFactory> stores = world.vault->factory();
    std::unique_ptr<blob::BlobStore> signing_store = stores->make();
    Result<vault::ServerSigner> signer =
        vault::make_server_signer(*signing_store, *world.kek, *world.random, ServerId{});
    CommandBox commands;
    pipeline::Doorbell bell;
    Channel<AssemblyEvent> events{64, bell};
    Channel<PublishEvent> replies{64, bell};
    Channel<OpenTask> open_tasks{8, bell};
    Channel<OpenOutcome> open_outcomes{8, bell};
    StatusBoard board;
    PublishStage publisher{{.clock = world.clock,
                            .random = *world.random,
                            .store = stores->make(),
                            .vault = world.identity,
                            .signer = *signer,
                            .options = options,
                            .sink = listener,
                            .conditions = conditions,
                            .metrics = *metrics,
                            .commands = commands,
                            .events = events,
                            .replies = replies,
                            .open_tasks = open_tasks,
                            .open_outcomes = open_outcomes,
                            .board = board}};
    OpenStage opener{{.clock = world.clock,
                      .random = *world.random,
                      .store = stores->make(),
                      .kek = *world.kek,
                      .vault = world.identity,
                      .signer = *signer,
                      .tasks = open_tasks,
                      .outcomes = open_outcomes}};
    Source source{world, {1 * mib}}, other{world, {1 * mib}};
    std::map<MachineId, Opening> openings;
    std::uint32_t session = 0;
    int discarded = 0;
};

TEST_F(GivenUp, TheMachineAloneStopsAndItsChainStaysWhole) {
    ASSERT_FALSE(hello(source).refused.has_value());
    ASSERT_FALSE(hello(other).refused.has_value());
    send_doubled_name(source);
    ASSERT_TRUE(run_until([this] { return stands(Errc::internal, source); }));
    EXPECT_EQ(listener.fencings, 1U) << "its session ends";
    EXPECT_EQ(read_state(world, source.machine).segments.size(), 0U);

    // Its agent is sent to another server: here nothing more is tried, or written.
    const std::size_t before = manifests();
    ASSERT_GT(before, 0U);
    const auto again = hello(source);
    ASSERT_TRUE(again.refused.has_value());
    EXPECT_EQ(again.refused->code, Errc::fenced);
    EXPECT_EQ(manifests(), before);

    EXPECT_FALSE(hello(other).refused.has_value());
    EXPECT_FALSE(stands(Errc::internal, other));
}

TEST_F(GivenUp, APersonsWordDiscardsWhatCannotBePublished) {
    ASSERT_FALSE(hello(source).refused.has_value());
    send_doubled_name(source);
    ASSERT_TRUE(run_until([this] { return stands(Errc::internal, source); }));
    commands.post(DiscardQuarantineCommand{source.machine});
    ASSERT_TRUE(run_until([this] { return discarded > 0; }));
    EXPECT_FALSE(stands(Errc::internal, source));
    EXPECT_FALSE(hello(source).refused.has_value());
}

}  // namespace
}  // namespace cw::upload::test
