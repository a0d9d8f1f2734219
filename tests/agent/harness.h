// One agent with disks in memory against a ModelServer, driven step by step on a manual clock.
#pragma once

#include "agent/stream/replicator.h"
#include "agent/stream/spiller.h"
#include "base/random.h"
#include "tests/agent/memory_image.h"
#include "tests/agent/model_link.h"
#include "tests/agent/shared_clock.h"

#include <filesystem>

#include <gtest/gtest.h>

namespace cw::agent::test {

class Harness {
public:
    struct Options {
        std::uint64_t seed = 1;
        std::size_t disks = 1;
        std::uint64_t disk_bytes = 16 * mib;
        std::size_t memory_slabs = 32;
        std::size_t ranges_max = 4096;
    };
    Harness() : Harness(Options{}) {}
    explicit Harness(Options options);
    ~Harness();

    // (Re)starts the agent on what the state directory says. `provable`: as main decides it.
    void start(bool provable = true, bool fresh = false, std::optional<Seq> exact = {});
    // kill -9: memory is gone, the state directory and the images stay.
    void kill();

    void steps(int count);
    // Steps (advancing the clock while idle) until `done`, at most `limit` rounds.
    template <typename Done>
    bool run_until(Done&& done, int limit = 20'000) {
        for (int i = 0; i < limit; ++i) {
            if (done()) {
                return true;
            }
            if (!replicator->step()) {
                clock.advance(5 * ns_per_ms);
            }
        }
        return done();
    }
    bool run_until_protected() {
        return run_until([&] {
            return replicator->status().link == LinkState::live && replicator->consistent();
        });
    }
    // A random write of 1 sector to 64 KiB, sometimes zeros, somewhere on a random disk.
    void random_write();
    void write(std::size_t disk, std::uint64_t offset, std::size_t length, std::uint8_t fill);
    // Makes a point, remembers the images at it.
    Result<PointId> point();
    // Every point the server kept equals the images when it was made. Returns how many were
    // checked.
    std::size_t check_points();
    // Compares the newest point of the server to the live images.
    void expect_no_violations();

    Options options;
    std::uint64_t compare_bytes_min = 256 * mib;
    SharedClock clock;
    AdmissionGate gate{clock};
    std::unique_ptr<Random> random;
    ModelServer server;
    ModelConnector connector{server};
    std::string directory;
    std::vector<std::unique_ptr<MemoryImage>> images;
    std::map<PointId, std::vector<ByteVector>> at_point;

    std::unique_ptr<cw::Disk> disk;
    std::unique_ptr<StateFile> state;
    std::unique_ptr<pipeline::SlabPool> pool, base_pool;
    std::unique_ptr<Outbox> outbox;
    std::unique_ptr<Spiller> spiller;  // Set by tests that want one.
    std::vector<std::unique_ptr<DiskCapture>> captures;
    std::unique_ptr<Replicator> replicator;

    [[nodiscard]] DiskId id_of(std::size_t slot) const {
        DiskId id;
        id.bytes.fill(std::byte{static_cast<unsigned char>(slot + 1)});
        return id;
    }
};

}  // namespace cw::agent::test
