// The device of an agent's disk spool fails: memory and dirty maps go on without it.
#include "cache/spool_format.h"
#include "tests/agent/harness.h"
#include "tests/fakes/sim_disk.h"

namespace cw::agent::test {
namespace {

constexpr std::uint64_t piece = 256 * kib;

class SpillerOnAFailingDevice : public testing::Test {
protected:
    // Protected, with a spool; then nobody can be reached any more.
    void SetUp() override {
        spool.path = "/spool";
        spool.region_bytes = 16 * mib;
        spool.size_bytes = 16 * spool.region_bytes;
        spool.prewrite = false;
        open();
        ASSERT_TRUE(h.run_until_protected());
        h.connector.up = false;
        h.server.crash();
        h.steps(2);
    }
    void TearDown() override { h.spiller.reset(); }
    void open() {
        h.spiller = Spiller::open(spool, {storage.make_disk(), storage.make_disk()},
                                  {*h.outbox, *h.pool, h.clock, *h.random})
                        .value();
    }
    void round() {
        for (int i = 0; i < 100; ++i) {
            h.steps(1);
            h.spiller->step();
            if (!h.spiller->busy()) {
                return;
            }
        }
    }
    void write_until(const auto& done) {
        ByteVector data(piece);
        for (int i = 0; i < 200 && !done(); ++i) {
            h.random->fill(data);
            ASSERT_TRUE(h.captures[0]->write(h.random->below(60) * piece, data));
            round();
        }
        ASSERT_TRUE(done());
    }
    [[nodiscard]] bool logging() { return h.captures[0]->position().logging; }
    void all_arrives() {
        h.connector.up = true;
        h.clock.advance(3600 * ns_per_s);
        ASSERT_TRUE(h.run_until([&] {
            round();
            return h.replicator->status().link == LinkState::live && logging() &&
                   h.outbox->empty() && h.replicator->consistent();
        }));
        ASSERT_TRUE(h.point().has_value());
        ASSERT_TRUE(h.run_until([&] {
            round();
            return h.outbox->empty();
        }));
        h.expect_no_violations();
        EXPECT_EQ(h.check_points(), 1U);
    }

    cache::SpoolOptions spool;
    fakes::SimStorage storage{1};
    Harness h{{.disk_bytes = 16 * mib, .memory_slabs = 4}};
};

TEST_F(SpillerOnAFailingDevice, G9GivesTheMemoryBackAndTheDiskIsProtectedAgain) {
    write_until([&] { return h.spiller->usage().used_bytes > 4 * mib; });
    storage.plan().write_error = 10'000;
    ByteVector data(piece);
    while (logging()) {  // All of memory, so that all of it is on its way when the device fails.
        h.random->fill(data);
        ASSERT_TRUE(h.captures[0]->write(h.random->below(60) * piece, data));
    }
    round();
    EXPECT_EQ(h.spiller->usage().room_bytes, 0U);
    all_arrives();
}

TEST_F(SpillerOnAFailingDevice, G9WhatCannotBeReadBackIsCaughtUpWith) {
    write_until([&] { return h.spiller->usage().used_bytes > 8 * mib; });
    storage.plan().read_error = 10'000;
    all_arrives();
}

// An agent begins with an empty spool: nothing it lost there would ever be repaired there.
TEST_F(SpillerOnAFailingDevice, A2KeepsNoLossOfAnEarlierRun) {
    write_until([&] { return h.spiller->usage().used_bytes > 4 * mib; });
    h.spiller.reset();
    const std::string log = "/spool/spool.log";
    for (const std::uint64_t at : storage.written_blocks(log)) {
        const auto start = cache::peek_batch_header(storage.contents(log, at, block_bytes));
        if (start && start->offset == at && start->number == 1) {
            storage.overwrite(log, at, ByteVector(block_bytes));
        }
    }
    const auto conditions = std::make_unique<Conditions>(h.clock);
    const auto metrics = make_metric_registry();
    const auto losses = [&] {
        const auto disk = storage.make_disk();
        return cache::Spool::open(spool, {*disk, h.clock, *h.random, *conditions, *metrics})
            .value()
            ->damaged()
            .size();
    };
    ASSERT_GT(losses(), 0U);
    open();
    h.clock.advance(60 * ns_per_s);
    write_until([&] { return h.spiller->usage().used_bytes > mib; });
    h.spiller.reset();
    EXPECT_EQ(losses(), 0U);
}

}  // namespace
}  // namespace cw::agent::test
