// Segments that garbage collection took while their writer slept.
#include "egress/vault/control.h"
#include "egress/vault/names.h"
#include "tests/upload/publish_fixture.h"
#include "tests/vault/vault_rig.h"

#include <algorithm>

namespace cw::upload::test {
namespace {

class Collected : public Publish {
protected:
    explicit Collected(std::int64_t latency_ns = 0) : Publish(latency_ns) {}
    // A collector has announced the segment of the next point before its manifest was made. The
    // writer has just made that, and has not read the note yet.
    void name_what_is_announced(bool gone) {
        protect();
        committed_before = server.listener.committed_seq;
        source.write(server, source.disks[0]);
        point = source.point(server);
        ASSERT_TRUE(server.run_until([this] { return find_unnamed(); }));
        announce();
        if (gone) {
            ASSERT_TRUE(world.vault->erase(vault::segment_blob(swept)));
        }
        ASSERT_TRUE(server.run_until([this] { return chain().segments.contains(swept); }));
        segment_id = chain().segments.at(swept).segment_id;
    }
    bool find_unnamed() {
        for (const blob::BlobName& name : world.vault->names()) {
            if (name.container != blob::Container::data) {
                continue;
            }
            const auto parsed = vault::parse_segment_blob(name);
            if (parsed && !chain().segments.contains(*parsed)) {
                swept = *parsed;
                return true;
            }
        }
        return false;
    }
    void announce() {
        auto store = world.vault->factory()->make();
        ServerId gc;
        gc.bytes[0] = std::byte{9};
        const auto signer = vault::make_server_signer(*store, *world.kek, *world.random, gc);
        ASSERT_TRUE(signer.has_value());
        fakes::put_gc_boundary(*store, source.machine,
                               {.boundary = 0, .sweep_epoch = Epoch{1}, .sweep = {swept.attempt}},
                               *signer);
    }
    // With the vault away: nobody is told.
    void die() {
        world.vault->set_rates({.unavailable = 1.0});
        for (int i = 0; i < 50; ++i) {
            server.step();
        }
        server.crash();
        world.vault->set_rates({});
    }

    PointId point;
    vault::SegmentName swept;
    std::array<std::byte, 16> segment_id{};
    std::map<std::pair<DiskId, Generation>, Seq> committed_before;
};

TEST_F(Collected, TheSameServerTakesItsManifestBackAndPublishesAgainFromTheCache) {
    name_what_is_announced(true);
    die();
    server.start();
    // Nobody told the agent: it is told what it was told before.
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_FALSE(answer.refused.has_value()) << answer.refused->detail;
    EXPECT_EQ(answer.disks[0].action, pipeline::DiskAction::continue_);
    EXPECT_EQ(answer.disks[0].committed, committed_before.begin()->second);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_FALSE(chain().segments.contains(swept));
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Collected, WithoutItsAgentToo) {
    name_what_is_announced(true);
    die();
    server.start();  // Recovers from the cache alone.
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Collected, AnotherServerTakesTheManifestBackAndTheAgentSendsAgain) {
    name_what_is_announced(true);
    die();
    Server other(world, publish_options(), 2);
    other.start();
    const auto answer = other.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_FALSE(answer.refused.has_value()) << answer.refused->detail;
    EXPECT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    EXPECT_EQ(answer.disks[0].committed, committed_before.begin()->second);
    const vault::ChainState taken = chain();
    EXPECT_FALSE(taken.segments.contains(swept));
    EXPECT_FALSE(taken.points.contains(point));
    EXPECT_EQ(check_points(world, source, taken), 1U);
}

// It may be deleted at any moment, and it may have been told of: only its name is given up.
TEST_F(Collected, WhatIsStillThereIsStoredUnderAnotherName) {
    name_what_is_announced(false);
    die();
    Server other(world, publish_options(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks).refused.has_value());
    const vault::ChainState taken = chain();
    EXPECT_FALSE(taken.segments.contains(swept));
    EXPECT_TRUE(std::ranges::any_of(taken.segments, [this](const auto& entry) {
        return entry.second.segment_id == segment_id;
    }));
    world.vault->erase(vault::segment_blob(swept));
    EXPECT_TRUE(taken.points.contains(point));
    EXPECT_EQ(check_points(world, source, taken), 2U);
}

// A manifest that was told of is never taken back, whatever became of its segments since.
TEST_F(Collected, WhatWasToldIsKept) {
    protect();
    source.write(server, source.disks[0]);
    point = source.point(server);
    ASSERT_TRUE(server.run_until([this] { return find_unnamed(); }));
    ASSERT_TRUE(server.settle());
    ASSERT_EQ(state_of(point), PointState::committed);
    source.write(server, source.disks[0]);
    source.point(server);
    ASSERT_TRUE(server.settle());
    announce();
    ASSERT_TRUE(world.vault->erase(vault::segment_blob(swept)));
    die();
    Server other(world, publish_options(), 2);
    other.start();
    const auto answer = other.hello(source.machine, source.disks);
    ASSERT_FALSE(answer.refused.has_value());
    EXPECT_EQ(answer.disks[0].committed, server.listener.committed_seq.begin()->second);
    EXPECT_TRUE(chain().segments.contains(swept));  // `causeway verify` finds it.
    EXPECT_EQ(chain().points.size(), 3U);
}

TEST_F(Collected, AHelloWaitsUntilTheCorrectedManifestMayBeTold) {
    name_what_is_announced(true);
    constexpr std::size_t refusals = 40;
    world.vault->script(fakes::BlobOp::put, fakes::BlobFault::unavailable, refusals);
    const auto refused = [&] { return world.vault->faults(fakes::BlobFault::unavailable); };
    ASSERT_TRUE(server.run_until([&] { return refused() >= 2; }));  // It is storing it again.
    OpenCommand command;
    command.open.machine = source.machine;
    command.open.session = SessionId{++server.session};
    command.open.token = server.session;
    for (const SourceDisk& disk : source.disks) {
        command.open.disks.push_back({.disk = disk.id,
                                      .size_bytes = disk.content.size(),
                                      .generation = disk.generation,
                                      .next_seq = disk.next,
                                      .oldest_held = disk.next,
                                      .catch_up_possible = true,
                                      .name = "disk"});
    }
    command.streams = server.watermarks();
    server.engine->post(std::move(command));
    ASSERT_TRUE(server.run_until([&] { return refused() >= refusals / 2; }));
    EXPECT_TRUE(server.listener.answers.empty());
    ASSERT_TRUE(server.run_until([this] { return !server.listener.answers.empty(); }));
    EXPECT_EQ(server.listener.answers.back().manifest_number, chain().newest.number);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

// What was to be stored again is damaged in the cache: only the agent has it now.
TEST_F(Collected, WhatCannotBeCorrectedIsTakenBackAndRepairedFromTheAgent) {
    server.keep_payload = false;
    name_what_is_announced(true);
    for (auto& [lsn, record] : server.cache.records) {
        record.damaged |= record.header.type == pipeline::RecordType::write;
    }
    ASSERT_TRUE(server.run_until([this] { return server.listener.fencings > 0; }));
    server.listener.strict = false;
    ASSERT_FALSE(server.hello(source.machine, source.disks, Seq{0}, true).refused.has_value());
    const std::size_t seen = server.listener.damage.size();
    ASSERT_TRUE(server.run_until([&] {
        return server.listener.damage.size() > seen || server.listener.points.contains(point);
    }));
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up) << answer.disks[0].reason;
    source.begin_sync(server, source.disks[0]);
    source.send_base(server, source.disks[0]);
    source.end_sync(server, source.disks[0]);
    const PointId repaired = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(repaired), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

// The server dies with an agent's first history in its cache and nothing of it published; the agent
// has lost its state and begins another, which is declared before the first one is read.
TEST_F(Publish, AHistoryThatWasReplacedBeforeItWasPublishedIsLetGo) {
    SourceDisk& disk = source.disks[0];
    disk.generation = Generation{0};
    server.start();
    const auto first_answer = server.hello(source.machine, source.disks);
    world.vault->set_rates({.unavailable = 1.0});
    disk.generation = first_answer.disks.at(0).generation;
    source.sync_all(server);
    source.write(server, source.disks[0]);
    for (int i = 0; i < 20; ++i) {
        server.step();
    }
    server.crash();
    world.vault->set_rates({});
    server.listener.strict = false;
    disk.generation = Generation{0};
    disk.next = Seq{1};
    server.start();
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_FALSE(answer.refused.has_value()) << answer.refused->detail;
    ASSERT_GT(answer.disks[0].generation, first_answer.disks[0].generation);
    disk.generation = answer.disks[0].generation;
    source.sync_all(server);
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 1U);
}

// Reads of the cache that take as long as a test likes.
class HeldReader final : public RecordReader {
public:
    explicit HeldReader(CacheModel& cache) : cache_(cache) {}
    void read(pipeline::Lsn lsn, pipeline::Record& record,
              std::function<void(Result<void>)> done) override {
        cache_.read(lsn, record, std::move(done));
        ++reads;
    }
    std::size_t poll() override { return hold ? 0 : cache_.poll(); }
    [[nodiscard]] std::size_t in_flight() const noexcept override { return cache_.in_flight(); }

    bool hold = false;
    std::size_t reads = 0;

private:
    CacheModel& cache_;
};

class CollectedAndDamaged : public Collected {
protected:
    CollectedAndDamaged() : Collected(200 * ns_per_ms) {
        server.reader = &reader;
        server.keep_payload = false;
    }
    HeldReader reader{server.cache};
};

// The writer asks who has the next number just when it hears that it cannot correct its manifest.
TEST_F(CollectedAndDamaged, AManifestThatCannotBeCorrectedIsGivenBackAlsoWhileARequestIsUnderWay) {
    name_what_is_announced(true);
    reader.hold = true;
    for (auto& [lsn, record] : server.cache.records) {
        record.damaged = true;
    }
    const std::size_t reads = reader.reads;
    ASSERT_TRUE(server.run_until([&] { return reader.reads > reads; }, 400000));
    const auto gets = world.vault->requests(fakes::BlobOp::get);
    ASSERT_TRUE(
        server.run_until([&] { return world.vault->requests(fakes::BlobOp::get) > gets; }, 400000));
    reader.hold = false;
    ASSERT_TRUE(
        server.run_until([this] { return server.conditions->standing(Errc::fenced); }, 100000));
}

}  // namespace
}  // namespace cw::upload::test
