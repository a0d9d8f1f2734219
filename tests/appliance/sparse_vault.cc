// sparse_vault DIRECTORY KEK_FILE: a vault with one machine whose 64 GiB disk holds 8 MiB, at two
// points, for tests/e2e/mount.sh: what would take an agent minutes to scan is there at once.
// Prints the machine and, per point, its id and the SHA-256 of the disk's first 4 MiB.
#include "base/crypto.h"
#include "egress/blob/directory_store.h"
#include "tests/vault/vault_rig.h"

#include <cstdio>
#include <cstdlib>

namespace cw {
namespace {

constexpr std::uint64_t disk_bytes = 64 * gib, head_bytes = 4 * mib, far_offset = 40 * gib;

template <typename T>
T must(Result<T> result) {
    if (!result) {
        std::fprintf(stderr, "sparse_vault: %s\n", to_string(result.error()).c_str());
        std::exit(1);
    }
    return std::move(*result);
}

struct Disk64 {
    fakes::VaultRig& rig;
    DiskId disk;
    std::uint64_t seq = 0;

    vault::SegmentRef write(std::uint64_t offset, const ByteVector& bytes) {
        fakes::RigSegment plan{.disk = disk, .first = Seq{seq + 1}, .last = {}, .extents = {}};
        for (std::uint64_t at = 0; at < bytes.size(); at += mib) {
            const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
            plan.extents.push_back({.offset = offset + at,
                                    .bytes = {begin, begin + static_cast<std::ptrdiff_t>(mib)},
                                    .seq = Seq{++seq},
                                    .codec = vault::Codec::none,
                                    .hole_bytes = 0});
        }
        plan.last = Seq{seq};
        rig.disk(disk).committed = Seq{seq};
        return rig.put(plan);
    }
};

void make(const std::string& directory, const std::string& kek_file) {
    const auto clock = make_system_clock();
    const auto random = make_system_random();
    const auto files = make_posix_disk();
    const auto factory =
        must(blob::make_directory_factory({.path = directory, .create = true}, *clock, *random));
    const auto store = factory->make();
    if (const auto made = vault::create_kek_file(*files, kek_file, *random); !made) {
        std::exit(1);
    }
    const auto kek = must(vault::open_kek_file(*files, kek_file, *random));
    const auto machine = make_id<MachineId>(*random);
    fakes::VaultRig rig(*store, *kek, *random, machine);
    Disk64 disk{rig, make_id<DiskId>(*random)};
    vault::DiskEntry& entry = rig.disk(disk.disk);
    entry.size_bytes = disk_bytes;
    entry.name = "sparse";
    entry.protected_ = true;
    std::printf("%s\n", to_string(machine).c_str());
    const auto far = disk.write(far_offset, fakes::random_bytes(*random, head_bytes));
    std::vector<vault::SegmentRef> added{far};
    for (int i = 0; i < 2; ++i) {
        const ByteVector head = fakes::random_bytes(*random, head_bytes);
        added.push_back(disk.write(0, head));
        const PointId point = rig.publish_point(added, clock->wall());
        added.clear();
        std::printf("%s %s\n", to_string(point).c_str(), to_hex(sha256(head)).c_str());
    }
}

}  // namespace
}  // namespace cw

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: sparse_vault DIRECTORY KEK_FILE\n", stderr);
        return 2;
    }
    cw::make(argv[1], argv[2]);
    return 0;
}
