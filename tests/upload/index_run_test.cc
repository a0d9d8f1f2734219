// Index runs that the store holds with another content than they were sent with.
#include "egress/vault/index_run.h"

#include "egress/vault/names.h"
#include "tests/upload/rig.h"

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

bool is_run(const blob::BlobName& name) {
    const auto segment = vault::parse_segment_blob(name);
    return name.container == blob::Container::data && segment && vault::is_index_run(*segment);
}

// Of the first `wrong` index runs one bit is changed on the way, and their answers are lost.
class GarblingStore final : public blob::BlobStore {
public:
    GarblingStore(std::unique_ptr<blob::BlobStore> inner, std::size_t& wrong)
        : inner_(std::move(inner)), wrong_(wrong) {}

    void put(blob::PutRequest request, blob::Done<blob::PutResult> done) override {
        if (wrong_ == 0 || !is_run(request.name)) {
            inner_->put(std::move(request), std::move(done));
            return;
        }
        --wrong_;
        const auto body = std::make_shared<ByteVector>();  // The request's and the callback's.
        for (const Bytes part : request.body) {
            body->insert(body->end(), part.begin(), part.end());
        }
        body->back() ^= std::byte{1};
        request.body = {*body};
        request.crc64.reset();
        inner_->put(std::move(request), [body, done = std::move(done)](const blob::PutResult&) {
            done({.outcome = blob::PutOutcome::unknown});
        });
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

private:
    std::unique_ptr<blob::BlobStore> inner_;
    std::size_t& wrong_;
};

class GarblingStores final : public blob::StoreFactory {
public:
    GarblingStores(std::unique_ptr<blob::StoreFactory> inner, std::size_t& wrong)
        : inner_(std::move(inner)), wrong_(wrong) {}
    std::unique_ptr<blob::BlobStore> make() override {
        return std::make_unique<GarblingStore>(inner_->make(), wrong_);
    }
    [[nodiscard]] std::string describe() const override { return inner_->describe(); }

private:
    std::unique_ptr<blob::StoreFactory> inner_;
    std::size_t& wrong_;
};

std::set<vault::SegmentName> named_runs(const vault::ChainState& state) {
    std::set<vault::SegmentName> names;
    for (const auto& [id, run] : state.runs) {
        names.insert(index_run_name(state.newest.machine, run));
    }
    return names;
}

// What lies under its name cannot be replaced: waiting for it would be waiting for ever.
TEST(IndexRun, ThatTheStoreHoldsWronglyIsWrittenAgainUnderAnotherName) {
    std::size_t wrong = 0;
    World world{31};
    world.stores = [&] { return std::make_unique<GarblingStores>(world.vault->factory(), wrong); };
    EngineOptions options = quick_options();
    options.checkpoint_every = 4;
    options.runs = {.inline_bytes = 1000, .run_bytes = 2000, .runs_max = 4};
    Server server(world, options);
    Source source{world, {1 * mib}};
    server.start();
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    source.sync_all(server);
    wrong = 3;
    for (int i = 0; i < 30; ++i) {
        source.write(server, source.disks[0]);
        const PointId point = source.point(server);
        ASSERT_TRUE(server.run_until([&] { return server.listener.points.contains(point); }))
            << "point " << i << " waits; " << wrong << " runs are still to be stored wrongly";
        EXPECT_EQ(server.listener.points.at(point).state, pipeline::PointState::committed);
    }
    EXPECT_EQ(wrong, 0U);
    EXPECT_TRUE(server.conditions->list().empty());
    const vault::ChainState state = read_state(world, source.machine);
    EXPECT_EQ(check_points(world, source, state), 30U);
    const std::set<vault::SegmentName> named = named_runs(state);
    EXPECT_FALSE(named.empty());
    std::size_t orphans = 0;
    for (const blob::BlobName& name : world.vault->names()) {
        orphans += is_run(name) && !named.contains(*vault::parse_segment_blob(name)) ? 1 : 0;
    }
    EXPECT_GE(orphans, 3U);  // For garbage collection: nobody names them.
}

}  // namespace
}  // namespace cw::upload::test
