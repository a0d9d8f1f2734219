// The Azure client against a fake of its own, for tests of what goes wrong between them.
#pragma once

#include "base/random.h"
#include "egress/blob/azure_endpoint.h"
#include "egress/blob/azure_store.h"
#include "tests/fake_azure/fake_azure.h"

#include <gtest/gtest.h>

namespace cw::blob {

// Real time plus what the test adds.
class ShiftedClock final : public Clock {
public:
    Nanos boot() override { return system_->boot() + added_ns_; }
    WallMicros wall() override {
        return WallMicros{static_cast<std::int64_t>(system_->wall()) + wall_added_us_};
    }
    void advance(std::int64_t ns) { added_ns_ += ns; }
    void set_wall_error(std::int64_t us) { wall_added_us_ = us; }

private:
    std::unique_ptr<Clock> system_ = make_system_clock();
    std::int64_t added_ns_ = 0, wall_added_us_ = 0;
};

class AzureTest : public testing::Test {
protected:
    explicit AzureTest(fake_azure::FakeAzureOptions options = {}) : fake_(std::move(options)) {}

    [[nodiscard]] AzureOptions shared_key() const {
        AzureOptions options;
        options.url = fake_.url();
        options.auth = AzureAuth::shared_key;
        options.secret = Secret<std::string>(fake_azure::test_key);
        return options;
    }
    std::unique_ptr<BlobStore> open(AzureOptions options) {
        auto factory = make_azure_factory(std::move(options), clock_, *random_);
        EXPECT_TRUE(factory) << to_string(factory.error());
        factory_ = std::move(*factory);
        return factory_->make();
    }
    // A store on a vault that exists, with the statistics at zero.
    std::unique_ptr<BlobStore> ready(AzureOptions options) {
        auto store = open(std::move(options));
        const auto created = create_containers_and_wait(*store);
        EXPECT_TRUE(created) << to_string(created.error());
        fake_.reset_stats();
        return store;
    }
    static PutRequest put_of(const std::string& name, std::string_view body) {
        return {.name = {Container::data, name}, .body = {as_bytes(body)}};
    }
    void fault(fake_azure::FaultRule rule) { fake_.faults().replace({std::move(rule)}); }

    fake_azure::FakeAzure fake_;
    ShiftedClock clock_;
    std::unique_ptr<Random> random_ = make_system_random();
    std::unique_ptr<StoreFactory> factory_;
};

}  // namespace cw::blob
