// The same stages, each on its own thread.
#include "egress/upload/store_runner.h"
#include "tests/upload/rig.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

class LockedRandom final : public Random {
public:
    explicit LockedRandom(std::uint64_t seed) : inner_(make_seeded_random(seed)) {}
    void fill(std::span<std::byte> out) override {
        const std::scoped_lock lock(mutex_);
        inner_->fill(out);
    }

private:
    std::mutex mutex_;
    std::unique_ptr<Random> inner_;
};

// The cache and the listener belong to the test; the engine's threads come in under its lock.
class LockedPorts final : public RecordReader, public EngineSink {
public:
    LockedPorts(CacheModel& cache, Listener& listener) : cache_(cache), listener_(listener) {}
    void read(pipeline::Lsn lsn, pipeline::Record& record,
              std::function<void(Result<void>)> done) override {
        const std::scoped_lock lock(mutex);
        cache_.read(lsn, record, std::move(done));
    }
    std::size_t poll() override {
        const std::scoped_lock lock(mutex);
        return cache_.poll();
    }
    [[nodiscard]] std::size_t in_flight() const noexcept override {
        const std::scoped_lock lock(mutex);
        return cache_.in_flight();
    }
    bool opened(pipeline::MachineOpened& opened) override {
        return tell([&] { return listener_.opened(opened); });
    }
    bool committed(std::uint32_t reactor, pipeline::Committed& committed) override {
        return tell([&] { return listener_.committed(reactor, committed); });
    }
    bool damaged(DamagedRecords& damaged) override {
        return tell([&] { return listener_.damaged(damaged); });
    }
    bool fenced(FencedMachine& fenced) override {
        return tell([&] { return listener_.fenced(fenced); });
    }
    bool release(pipeline::Release& release) override {
        return tell([&] { return listener_.release(release); });
    }
    template <typename Predicate>
    bool wait(Predicate done) {
        std::unique_lock lock(mutex);
        return news.wait_for(lock, std::chrono::seconds(60), done);
    }

    mutable std::mutex mutex;
    std::condition_variable news;

private:
    template <typename Work>
    bool tell(Work work) {
        const std::scoped_lock lock(mutex);
        const bool taken = work();
        news.notify_all();
        return taken;
    }
    CacheModel& cache_;
    Listener& listener_;
};

TEST(Threads, CommitAndReleaseEverything) {
    World world(21, 0, false);
    const auto clock = make_system_clock();
    LockedRandom random(22);
    EngineOptions options;
    options.seal_after_ns = 20 * ns_per_ms;
    options.commit_interval_ns = 5 * ns_per_ms;
    Server server(world, options);
    LockedPorts ports(server.cache, server.listener);
    const auto compute = make_compute_executor(2);
    pipeline::Runner assembly("assembly", *clock);
    StoreRunner publish("publish", *clock), open("open", *clock), upload("upload", *clock);
    server.reader = &ports;
    server.sink = &ports;
    server.compute = compute.get();
    server.engine_random = &random;
    server.engine_clock = clock.get();
    server.doorbells.emplace(EngineDoorbells{.assembly = assembly.doorbell(),
                                             .publish = publish.doorbell(),
                                             .open = open.doorbell(),
                                             .upload = {&upload.doorbell()}});
    server.start();
    assembly.add(server.engine->assembly());
    assembly.start();
    publish.start(server.engine->publisher());
    open.start(server.engine->opener());
    upload.start(server.engine->uploader(0));

    Source source(world, {1 * mib, 2 * mib});
    OpenCommand hello;
    hello.open.machine = source.machine;
    hello.open.session = SessionId{1};
    for (const SourceDisk& disk : source.disks) {
        hello.open.disks.push_back({.disk = disk.id,
                                    .size_bytes = disk.content.size(),
                                    .generation = disk.generation,
                                    .next_seq = disk.next,
                                    .oldest_held = disk.next,
                                    .catch_up_possible = false,
                                    .name = "disk"});
    }
    server.engine->post(std::move(hello));
    ASSERT_TRUE(ports.wait([&] { return !server.listener.answers.empty(); }));
    const auto hand_over = [&](auto&& work) {
        const std::scoped_lock lock(ports.mutex);
        work();
        server.feed();
        assembly.doorbell().ring();
    };
    hand_over([&] { source.sync_all(server); });
    for (int round = 0; round < 30; ++round) {
        hand_over([&] {
            source.write(server, source.disks[0]);
            source.write(server, source.disks[1]);
            source.point(server);
        });
        if (round % 5 == 0) {
            server.engine->set_lanes(
                {.upload_threads_per_vm = 1 + (round % 3U), .total_connections = 8});
            static_cast<void>(server.engine->status());
        }
    }
    EXPECT_TRUE(ports.wait([&] { return server.cache.records.empty(); }));
    assembly.stop();
    publish.stop();
    open.stop();
    upload.stop();
    EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 30U);
}

}  // namespace
}  // namespace cw::upload::test
