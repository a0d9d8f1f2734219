// The queue of a machine of one disk goes through its disk spool. (Of several: spiller_test.cc.)
#include "tests/agent/harness.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

namespace cw::agent::test {
namespace {

void open_spool(Harness& h) {
    h.spiller =
        Spiller::open(h.directory + "/spool", 256 * mib, {*h.outbox, *h.pool, h.clock, *h.random})
            .value();
}

// The device is real, the clock is not: a round ends when the device has, however slow it is, or
// when `seen` is: what lasts for a moment only, a slow device lets pass within a round.
void spool_round(Harness& h, const std::function<bool()>& seen = [] { return false; }) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    do {
        h.steps(1);
        h.spiller->step();
        std::this_thread::yield();
    } while (h.spiller->busy() && !seen() && std::chrono::steady_clock::now() < give_up);
}

TEST(Replicator, ADiskSpoolThatClosesTakesBackWhatItReadForTheQueue) {
    Harness h({.disk_bytes = 16 * mib, .memory_slabs = 12});
    open_spool(h);
    ASSERT_TRUE(h.run_until_protected());
    h.connector.up = false;
    h.server.crash();
    ByteVector data(256 * kib);
    for (int i = 0; i < 80; ++i) {  // 20 MiB through 12 MiB of memory.
        h.random->fill(data);
        ASSERT_TRUE(h.captures[0]->write(h.random->below(60) * 256 * kib, data));
        for (int k = 0; k < 4; ++k) {
            spool_round(h);
        }
    }
    h.connector.up = true;
    h.clock.advance(3600 * ns_per_s);
    const auto read_back = [&h] {
        return std::ranges::any_of(h.outbox->entries(), [](const OutboxEntry& entry) {
            return entry.spill.place == SpillState::Place::kept && entry.record.slabs[0];
        });
    };
    ASSERT_TRUE(h.run_until([&] {
        spool_round(h, read_back);
        return read_back();
    }));
    h.spiller.reset();  // Its pool aborts if a slab is missing.
    EXPECT_TRUE(std::ranges::none_of(h.outbox->entries(), [](const OutboxEntry& entry) {
        return entry.spill.place == SpillState::Place::kept;
    }));
}

TEST(Replicator, C14_WithADiskSpoolAnOutageKeepsEveryWriteAndEveryPointInOrder) {
    Harness h({.disk_bytes = 16 * mib, .memory_slabs = 12});
    open_spool(h);
    ASSERT_TRUE(h.run_until_protected());
    const std::size_t begins = h.server.begins.size();
    h.connector.up = false;
    h.server.crash();
    ByteVector data(256 * kib);
    for (int i = 0; i < 160; ++i) {  // 40 MiB through 12 MiB of memory.
        h.random->fill(data);
        ASSERT_TRUE(h.captures[0]->write(h.random->below(60) * 256 * kib, data));
        if (i % 20 == 19) {
            ASSERT_TRUE(h.point().has_value()) << i;
        }
        for (int k = 0; k < 4; ++k) {  // Finding pressure, moving, freeing: a round each.
            spool_round(h);
        }
    }
    EXPECT_TRUE(h.captures[0]->position().logging);
    h.connector.up = true;
    h.clock.advance(3600 * ns_per_s);
    ASSERT_TRUE(h.run_until([&] {
        spool_round(h);
        return h.outbox->empty();
    }));
    EXPECT_EQ(h.server.begins.size(), begins);  // No fence: nothing was missed.
    EXPECT_EQ(h.check_points(), 8U);
    h.expect_no_violations();
}

}  // namespace
}  // namespace cw::agent::test
