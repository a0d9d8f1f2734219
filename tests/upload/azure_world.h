// A world whose vault is in the strict fake of Azure: real requests, simulated time. Time creeps
// while an answer is outstanding, so that minutes pass in moments and a busy computer changes
// nothing.
#pragma once

#include "egress/blob/retry_store.h"
#include "tests/fake_azure/fake_azure.h"
#include "tests/upload/rig.h"

#include <set>

#include <gtest/gtest.h>

namespace cw::upload::test {

class AzureWorld {
public:
    AzureWorld();

    // The stores of a process: Azure below, with what the service is given to repeat above.
    std::unique_ptr<blob::StoreFactory> stores();
    // Whether no request is under way; if one is, a little time passes, really and simulated.
    bool answered();

    fake_azure::FakeAzure fake{{}};
    World world{11};
    Conditions store_conditions{world.clock};  // A process has one object for these and the rest.
    std::unique_ptr<MetricRegistry> metrics = make_metric_registry();
    std::set<blob::BlobStore*> asking;  // Stores that live.
};

// A protected machine with a point in the vault, by the options that a server has.
class AzureFaults : public testing::Test {
protected:
    void SetUp() override;
    void fault(fake_azure::FaultRule rule) { azure.fake.faults().replace({std::move(rule)}); }
    void no_fault() { azure.fake.faults().replace({}); }
    // A write and a point behind it.
    PointId news();
    [[nodiscard]] bool committed(const PointId& point) const;
    [[nodiscard]] bool stands(Errc code) const;
    // What `causeway status` would show.
    [[nodiscard]] std::string shown() const;
    // Lets `ns` pass, or less: until `done`; returns it.
    bool within(std::int64_t ns, const std::function<bool()>& done);
    void pass(std::int64_t ns) {
        (void)within(ns, [] { return false; });
    }
    // G21: the fault is shown within 30 seconds, loses nothing, and is over a minute after its end.
    void expect_shown_and_over(fake_azure::FaultRule rule, Errc code);
    // Everything published is what the machine wrote.
    void expect_whole(std::size_t points);

    AzureWorld azure;
    std::unique_ptr<Server> server;
    Source source{azure.world, {1 * mib}};
    std::size_t points = 0;  // Made so far.
};

}  // namespace cw::upload::test
