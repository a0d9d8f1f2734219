#include "tests/upload/azure_world.h"

#include "base/assert.h"
#include "egress/blob/azure_store.h"
#include "egress/vault/keys.h"

namespace cw::upload::test {
namespace {

// Knows which stores live, and passes everything on.
class KnownStore final : public blob::BlobStore {
public:
    KnownStore(std::unique_ptr<blob::BlobStore> inner, std::set<blob::BlobStore*>& known)
        : inner_(std::move(inner)), known_(known) {
        known_.insert(inner_.get());
    }
    ~KnownStore() override { known_.erase(inner_.get()); }
    KnownStore(const KnownStore&) = delete;
    KnownStore& operator=(const KnownStore&) = delete;

    void put(blob::PutRequest request, blob::Done<blob::PutResult> done) override {
        inner_->put(std::move(request), std::move(done));
    }
    void get(blob::GetRequest request, blob::Done<Result<blob::GetResult>> done) override {
        inner_->get(std::move(request), std::move(done));
    }
    void head(blob::BlobName name, blob::Done<Result<blob::BlobProperties>> done) override {
        inner_->head(std::move(name), std::move(done));
    }
    void list(blob::Container container, std::string prefix, std::string marker,
              blob::Done<Result<blob::ListPage>> done) override {
        inner_->list(container, std::move(prefix), std::move(marker), std::move(done));
    }
    void remove(blob::BlobName name, blob::Done<Result<void>> done) override {
        inner_->remove(std::move(name), std::move(done));
    }
    void create_containers(blob::Done<Result<void>> done) override {
        inner_->create_containers(std::move(done));
    }
    std::size_t poll() override { return inner_->poll(); }
    void wait(std::int64_t timeout_ns, int wake_fd) override { inner_->wait(timeout_ns, wake_fd); }
    [[nodiscard]] std::size_t in_flight() const noexcept override { return inner_->in_flight(); }
    void set_concurrency(std::size_t operations) override { inner_->set_concurrency(operations); }

private:
    std::unique_ptr<blob::BlobStore> inner_;
    std::set<blob::BlobStore*>& known_;
};

class KnownStores final : public blob::StoreFactory {
public:
    KnownStores(std::unique_ptr<blob::StoreFactory> inner, std::set<blob::BlobStore*>& known)
        : inner_(std::move(inner)), known_(known) {}
    std::unique_ptr<blob::BlobStore> make() override {
        return std::make_unique<KnownStore>(inner_->make(), known_);
    }
    [[nodiscard]] std::string describe() const override { return inner_->describe(); }

private:
    std::unique_ptr<blob::StoreFactory> inner_;
    std::set<blob::BlobStore*>& known_;
};

constexpr std::int64_t tick_ns = 50 * ns_per_ms;

}  // namespace

AzureWorld::AzureWorld() {
    // Requests are dated: the simulated day is today.
    world.clock.jump_wall(raw(make_system_clock()->wall()) - raw(world.clock.wall()));
    world.stores = [this] { return stores(); };
    world.answered = [this] { return answered(); };
    const auto store = stores()->make();
    auto made = vault::create_vault(*store, *world.kek, *world.random);
    CW_ASSERT(made.has_value());
    world.identity = *made;
}

std::unique_ptr<blob::StoreFactory> AzureWorld::stores() {
    blob::AzureOptions options;
    options.url = fake.url();
    options.auth = blob::AzureAuth::shared_key;
    options.secret = Secret<std::string>(fake_azure::test_key);
    options.conditions = &store_conditions;
    auto made = blob::make_azure_factory(std::move(options), world.clock, *world.random);
    CW_ASSERT(made.has_value());
    blob::RetryOptions retry;
    retry.conditions = &store_conditions;
    return blob::make_retry_factory(std::make_unique<KnownStores>(std::move(*made), asking), retry,
                                    world.clock, *world.random, *metrics);
}

bool AzureWorld::answered() {
    for (blob::BlobStore* const store : asking) {
        if (store->in_flight() > 0) {
            store->wait(5 * ns_per_ms, -1);
            world.clock.advance(ns_per_ms);  // It may be what Retry-After holds back.
            return false;
        }
    }
    return true;
}

void AzureFaults::SetUp() {
    server = std::make_unique<Server>(azure.world, EngineOptions{});
    server->start();
    ASSERT_FALSE(server->hello(source.machine, source.disks).refused.has_value());
    source.sync_all(*server);
    const PointId first = source.point(*server);
    points = 1;
    ASSERT_TRUE(within(60 * ns_per_s, [&] { return committed(first); })) << shown();
    azure.fake.reset_stats();
}

PointId AzureFaults::news() {
    ++points;
    source.write(*server, source.disks[0]);
    return source.point(*server);
}

bool AzureFaults::committed(const PointId& point) const {
    const auto found = server->listener.points.find(point);
    return found != server->listener.points.end() &&
           found->second.state == pipeline::PointState::committed;
}

bool AzureFaults::stands(Errc code) const {
    return azure.store_conditions.standing(code) || server->conditions->standing(code);
}

std::string AzureFaults::shown() const {
    std::string out;
    const Conditions* const all[] = {&azure.store_conditions, server->conditions.get()};
    for (const Conditions* const conditions : all) {
        for (const Condition& condition : conditions->list()) {
            out += std::string(name_of(condition.code)) + " " + condition.subject + ": " +
                   condition.detail + "\n";
        }
    }
    return out;
}

bool AzureFaults::within(std::int64_t ns, const std::function<bool()>& done) {
    const Nanos until = azure.world.clock.boot() + ns;
    while (!done() && azure.world.clock.boot() < until) {
        server->step(tick_ns);
    }
    return done();
}

void AzureFaults::expect_shown_and_over(fake_azure::FaultRule rule, Errc code) {
    SCOPED_TRACE(std::string(name_of(code)) + " of " + rule.code);
    fault(std::move(rule));
    const PointId point = news();
    EXPECT_TRUE(within(30 * ns_per_s, [&] { return stands(code); })) << shown();
    const std::size_t held = server->cache.records.size();
    pass(120 * ns_per_s);
    EXPECT_TRUE(stands(code)) << shown();
    EXPECT_FALSE(committed(point));
    EXPECT_GE(server->cache.records.size(), std::min<std::size_t>(held, 1));
    no_fault();
    EXPECT_TRUE(within(60 * ns_per_s, [&] { return committed(point) && shown().empty(); }))
        << shown();
    expect_whole(points);
}

void AzureFaults::expect_whole(std::size_t expected) {
    EXPECT_EQ(check_points(azure.world, source, read_state(azure.world, source.machine)), expected);
}

}  // namespace cw::upload::test
