// What a history counts as held after damage, and after another server has gone on with it.
#include "cache/stream_table.h"

#include "tests/cache/spool_harness.h"

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

class StreamTableTest : public ::testing::Test {
protected:
    // As recovery finds it: everything up to `seq`, and `beyond` above a hole.
    void found(Seq seq, Seq fence, std::vector<SeqRange> beyond) {
        StreamView view;
        view.seq = seq;
        view.fence = fence;
        view.fence_open = raw(fence) != 0;
        view.beyond = std::move(beyond);
        table.restore(key, view);
    }
    [[nodiscard]] Arrival arrival_of_base(Seq fence) const {
        return table.check(make_base(key, fence, 0, 1).header);
    }
    void begin_fence(Seq seq) {
        const RecordHeader header = make_control(key, RecordType::resync_begin, seq).header;
        ASSERT_EQ(table.check(header), Arrival::accept);
        table.append(header);
        table.make_durable(header);
    }
    StreamTable table;
    const StreamKey key = make_key(1, 1);
};

// The hole is what the vault holds; then all that lies above it counts again.
TEST_F(StreamTableTest, AHoleThatTheVaultFillsIsNone) {
    found(Seq{0}, Seq{0}, {{Seq{55}, Seq{60}}});
    table.settle(key, Seq{58}, Seq{0});
    EXPECT_EQ(table.state(key).durable, Seq{60});
}

// Else the fence that is to repair it would be dropped as known, and its BASE as of a fence that is
// over: the agent would wait for ever (seed 455643).
TEST_F(StreamTableTest, G6WhatLiesAboveAHoleIsTakenOnceMoreAsWell) {
    found(Seq{0}, Seq{59}, {{Seq{55}, Seq{60}}});
    EXPECT_TRUE(table.take_again(key, Seq{58}));
    table.settle(key, Seq{58}, Seq{0});
    EXPECT_EQ(table.state(key).durable, Seq{58});
    begin_fence(Seq{59});
    EXPECT_EQ(arrival_of_base(Seq{59}), Arrival::accept);
}

// Of the batch with its RESYNC_BEGIN nothing is left: the fence comes once more.
TEST_F(StreamTableTest, G6AFenceThatIsKnownByItsBaseAloneCanStillBegin) {
    for (const bool told : {true, false}) {
        found(Seq{58}, Seq{59}, {});
        if (told) {
            EXPECT_TRUE(table.take_again(key, Seq{58}));
        }
        table.settle(key, Seq{58}, Seq{0});
        EXPECT_EQ(arrival_of_base(Seq{59}), Arrival::accept) << "it may come first";
        begin_fence(Seq{59});
        EXPECT_EQ(table.state(key).fence, Seq{59});
        EXPECT_EQ(arrival_of_base(Seq{59}), Arrival::accept);
    }
}

// The vault knows which one is open; what was seen above its end is not.
TEST_F(StreamTableTest, NoFenceIsOpenButTheOneThatTheVaultKnows) {
    found(Seq{0}, Seq{59}, {{Seq{55}, Seq{60}}});
    table.settle(key, Seq{58}, Seq{40});
    EXPECT_EQ(table.state(key).fence, Seq{40});
    EXPECT_EQ(arrival_of_base(Seq{40}), Arrival::accept);
}

TEST_F(StreamTableTest, BaseOfAFenceThatIsOverIsNeverTaken) {
    found(Seq{58}, Seq{40}, {});
    table.settle(key, Seq{58}, Seq{0});
    EXPECT_EQ(arrival_of_base(Seq{40}), Arrival::stale);
    EXPECT_FALSE(table.take_again(key, Seq{58})) << "it holds no more";
    found(Seq{70}, Seq{40}, {});
    EXPECT_TRUE(table.take_again(key, Seq{58}));
    EXPECT_EQ(arrival_of_base(Seq{40}), Arrival::stale);
}

// Recovery restores the newest checkpoint and reads the log again from where an older one ended:
// the history before the open fence comes by once more (seed 1214667).
TEST_F(StreamTableTest, G6WhatIsReadAgainBelowAnOpenFenceDoesNotEndIt) {
    found(Seq{59}, Seq{59}, {});
    for (const auto& [type, seq] :
         {std::pair{RecordType::resync_begin, Seq{20}}, std::pair{RecordType::resync_end, Seq{21}},
          std::pair{RecordType::resync_begin, Seq{59}}}) {
        table.make_durable(make_control(key, type, seq).header);
    }
    EXPECT_EQ(table.state(key).durable, Seq{59});
    EXPECT_EQ(table.state(key).fence, Seq{59});
    table.make_durable(make_control(key, RecordType::resync_end, Seq{60}).header);
    EXPECT_EQ(table.state(key).fence, Seq{0});
}

}  // namespace
}  // namespace cw::cache::testing
