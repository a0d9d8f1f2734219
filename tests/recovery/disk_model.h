// DiskModel: a seeded history of one disk, written into a vault the way a publisher may write it,
// with what the disk really held at every point kept aside.
//
// It makes writes, zeros and discards, segments coalesced or not, fences with base data read from
// the live disk while it is being written, base segments published in any order, writes that
// tracking missed, new generations laid over their parents, takeovers and checkpoints.
#pragma once

#include "tests/vault/vault_rig.h"

#include <map>
#include <vector>

namespace cw::fakes {

class DiskModel {
public:
    DiskModel(VaultRig& rig, Random& random, DiskId disk, std::uint64_t disk_bytes);

    // One random step of the history. Ends outside a fence.
    void step();
    // Writes until a point is published.
    PointId publish_point();

    [[nodiscard]] const std::map<PointId, ByteVector>& truth() const noexcept { return truth_; }
    [[nodiscard]] std::uint64_t fences() const noexcept { return fences_; }
    [[nodiscard]] std::uint64_t generations() const noexcept { return raw(generation_); }

private:
    struct Range {
        std::uint64_t offset = 0, length = 0;
    };
    Range random_range(std::uint64_t max);
    void write_once();
    void write_some() {
        for (std::uint64_t n = 1 + random_.below(6); n > 0; --n) {
            write_once();
        }
    }
    Range miss_one();  // A write that nobody logged.
    void seal_writes();
    void coalesce();
    void flush(bool all);
    void resync(const std::vector<Range>& dirty);
    void new_generation();
    vault::DiskEntry& entry() { return rig_.disk(disk_); }

    VaultRig& rig_;
    Random& random_;
    DiskId disk_;
    ByteVector live_;  // The disk as it is.
    Generation generation_{1};
    std::uint64_t seq_ = 0;       // Last consumed.
    std::vector<RigExtent> log_;  // Written since the last segment.
    Seq log_first_{};
    std::vector<vault::SegmentRef> unpublished_;
    std::map<PointId, ByteVector> truth_;
    std::uint64_t fences_ = 0;
    std::int64_t time_ = 1'700'000'000'000'000;
};

}  // namespace cw::fakes
