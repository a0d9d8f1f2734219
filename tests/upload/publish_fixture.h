// A protected machine with its first committed point: where the tests of publishing begin.
#pragma once

#include "tests/upload/rig.h"

#include <gtest/gtest.h>

namespace cw::upload::test {

using pipeline::PointState;

inline EngineOptions publish_options() {
    EngineOptions options = quick_options();
    options.provisional_ns = 300 * ns_per_ms;
    return options;
}

class Publish : public testing::Test {
protected:
    explicit Publish(std::int64_t latency_ns = 0) : world(7, latency_ns) {}
    void protect() {
        server.start();
        ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
        source.sync_all(server);
        first = source.point(server);
        ASSERT_TRUE(server.settle());
        ASSERT_EQ(state_of(first), PointState::committed);
    }
    PointState state_of(const PointId& id) { return server.listener.points.at(id).state; }
    vault::ChainState chain() { return read_state(world, source.machine); }

    World world;
    Server server{world, publish_options()};
    Source source{world, {1 * mib}};
    PointId first;
};

}  // namespace cw::upload::test
