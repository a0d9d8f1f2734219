// A machine of one disk that is protected, and a server that seals after half a second.
#pragma once

#include "tests/upload/rig.h"

#include <gtest/gtest.h>

namespace cw::upload::test {

inline EngineOptions quick() {
    EngineOptions options = quick_options();
    options.seal_after_ns = 500 * ns_per_ms;
    return options;
}

class Assembly : public testing::Test {
protected:
    void protect() {
        server.start();
        ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
        source.sync_all(server);
        source.point(server);
        ASSERT_TRUE(server.settle());
    }
    // The store is there again. What lay behind damage is released, never committed.
    void expect_next_point_committed() {
        const PointId point = source.point(server);
        world.vault->set_rates({});
        server.listener.strict = false;
        ASSERT_TRUE(server.settle());
        EXPECT_EQ(server.listener.points.at(point).state, pipeline::PointState::committed);
        EXPECT_EQ(check_points(world, source, chain()), 2U);
    }
    vault::ChainState chain() { return read_state(world, source.machine); }
    std::size_t segments() { return chain().segments.size(); }

    World world{11};
    Server server{world, quick()};
    Source source{world, {2 * mib}};
};

}  // namespace cw::upload::test
