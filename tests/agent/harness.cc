#include "tests/agent/harness.h"

namespace cw::agent::test {

Harness::Harness(Options wanted) : options(wanted), random(make_seeded_random(wanted.seed)) {
    directory = testing::TempDir() + "cw_agent_" + std::to_string(::getpid()) + "_" +
                std::to_string(random->next_u64());
    for (std::size_t i = 0; i < options.disks; ++i) {
        images.push_back(std::make_unique<MemoryImage>(options.disk_bytes));
    }
    server.secret.fill(std::byte{0x5a});
    start(false, true);
}

Harness::~Harness() {
    kill();
    std::filesystem::remove_all(directory);
}

void Harness::kill() {
    replicator.reset();
    captures.clear();
    spiller.reset();
    outbox.reset();
    base_pool.reset();
    pool.reset();
    state.reset();
    disk.reset();
    server.closed = true;
}

void Harness::start(bool provable, bool fresh, std::optional<Seq> exact) {
    disk = make_posix_disk();
    state = StateFile::open(*disk, directory).value();
    pool = pipeline::SlabPool::create("log", options.memory_slabs).value();
    base_pool = pipeline::SlabPool::create("base", 8).value();
    outbox = std::make_unique<Outbox>(4 * mib);
    EXPECT_TRUE(state->update([&](AgentState& s) {
        ++s.boot_counter;
        s.disks.resize(options.disks);
        for (std::size_t i = 0; i < options.disks; ++i) {
            s.disks[i].id = id_of(i);
            s.disks[i].size_bytes = options.disk_bytes;
        }
    }));
    MachineId machine;
    machine.bytes.fill(std::byte{9});
    replicator = std::make_unique<Replicator>(
        Replicator::Options{machine, "test", "test", 20 * ns_per_ms, compare_bytes_min},
        Replicator::Context{connector, *outbox, *pool, *base_pool, *state, clock, *random, &gate});
    for (std::size_t i = 0; i < options.disks; ++i) {
        const DirtyMap::Target target{directory + "/map" + std::to_string(i), id_of(i),
                                      options.disk_bytes, options.ranges_max};
        auto map = fresh || !provable ? DirtyMap::create(*disk, target).value()
                                      : DirtyMap::open(*disk, target).value();
        const DiskState s = state->get().disks[i];
        const DiskCapture::Start begin{.key = {machine, id_of(i), s.generation},
                                       .slot = static_cast<std::uint16_t>(i),
                                       .next = exact.value_or(s.limit),
                                       .limit = s.limit,
                                       .stream_hash = {},
                                       .logging = exact.has_value()};
        captures.push_back(std::make_unique<DiskCapture>(
            begin, std::move(map),
            DiskCapture::Parts{*images[i], *outbox, *pool, clock, *state, &gate}));
        replicator->add_disk(*captures.back(), "disk" + std::to_string(i), provable);
    }
}

void Harness::steps(int count) {
    for (int i = 0; i < count; ++i) {
        if (!replicator->step()) {
            clock.advance(5 * ns_per_ms);
        }
    }
}

void Harness::random_write() {
    const std::size_t disk_index = random->below(options.disks);
    const std::size_t sectors = 1 + random->below(random->below(4) == 0 ? 128 : 8);
    const std::uint64_t at = random->below(options.disk_bytes / 512 - sectors) * 512;
    if (random->below(10) == 0) {
        const auto op =
            random->below(2) == 0 ? pipeline::ExtentOp::zero : pipeline::ExtentOp::discard;
        ASSERT_TRUE(captures[disk_index]->zero(at, sectors * 512, op, false));
        return;
    }
    ByteVector data(sectors * 512);
    random->fill(data);
    ASSERT_TRUE(captures[disk_index]->write(at, data));
}

void Harness::write(std::size_t index, std::uint64_t offset, std::size_t length,
                    std::uint8_t fill) {
    const ByteVector data(length, std::byte{fill});
    ASSERT_TRUE(captures[index]->write(offset, data));
}

Result<PointId> Harness::point() {
    CW_TRY_ASSIGN(const PointId id, replicator->make_point(pipeline::PointKind::crash, "t"));
    std::vector<ByteVector> copies;
    copies.reserve(images.size());
    for (const auto& image : images) {
        copies.push_back(image->copy());
    }
    at_point.emplace(id, std::move(copies));
    return id;
}

std::size_t Harness::check_points() {
    for (const auto& seen : server.points) {
        const auto& expected = at_point.at(seen.point.id);
        for (const auto& cut : seen.point.cuts) {
            for (std::size_t i = 0; i < options.disks; ++i) {
                if (cut.disk == id_of(i)) {
                    EXPECT_TRUE(server.materialise(cut.disk, cut.cut) == expected[i])
                        << "point at " << raw(cut.cut) << " of disk " << i << " differs, seed "
                        << options.seed;
                }
            }
        }
    }
    return server.points.size();
}

void Harness::expect_no_violations() {
    for (const std::string& what : server.violations) {
        ADD_FAILURE() << what << ", seed " << options.seed;
    }
}

}  // namespace cw::agent::test
