// The records that carry a failback into a VolumeWriter: one fence with the differing blocks as
// BASE, and the point. Their sequences end where the point is cut, so that a stream could go on.
#pragma once

#include "base/checksum.h"
#include "pipeline/record.h"
#include "recovery/catalog.h"

#include <memory>
#include <vector>

namespace cw::recovery {

// Some 64 KiB blocks of one super-chunk: first those wanted, then those that differ.
class FailbackBlocks {
public:
    struct Item {
        unsigned index = 0;        // Within the super-chunk, ascending.
        std::uint64_t length = 0;  // 64 KiB, or less at the end of the disk.
        Fingerprint target{};      // Of what the target holds.
        std::size_t at = 0;        // In content.
    };
    // In ascending order of `index`.
    void add(unsigned index, std::uint64_t length, const Fingerprint& target);
    // Leaves those whose content is not what the target holds.
    void drop_same(const FingerprintSecret& secret);
    [[nodiscard]] bool empty() const noexcept { return items_.empty(); }
    [[nodiscard]] const std::vector<Item>& items() const noexcept { return items_; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    [[nodiscard]] Bytes of(const Item& item) const noexcept {
        return Bytes(content).subspan(item.at, item.length);
    }

    std::uint32_t ordinal = 0;
    ByteVector content;  // bytes() of them once fetched; neighbours lie side by side.

private:
    std::vector<Item> items_;
    std::uint64_t bytes_ = 0;
};

class FailbackRecords {
public:
    // Errors: out_of_budget.
    static Result<FailbackRecords> create(const MachineId& machine, const vault::PointEntry& point,
                                          const DiskAtPoint& disk);
    [[nodiscard]] pipeline::Record begin() const;
    // The record borrows the slabs until it is destroyed; one at a time.
    pipeline::Record base(const FailbackBlocks& blocks);
    [[nodiscard]] pipeline::Record end() const;
    [[nodiscard]] pipeline::Record point() const;

private:
    FailbackRecords(const vault::PointEntry& entry, pipeline::StreamKey key, Seq cut,
                    std::unique_ptr<pipeline::SlabPool> pool)
        : entry_(entry), key_(key), cut_(cut), pool_(std::move(pool)) {}
    [[nodiscard]] pipeline::Record control(pipeline::RecordType type, Seq seq) const;
    [[nodiscard]] Seq fence() const noexcept { return Seq{raw(cut_) - 1}; }

    const vault::PointEntry& entry_;
    pipeline::StreamKey key_;
    Seq cut_;
    std::unique_ptr<pipeline::SlabPool> pool_;
};

}  // namespace cw::recovery
