// Overlay: what the target will become, as a sparse file of the same size and a map of 4 KiB blocks
// that are in it. Blocks that are not show through to the target.
//
// Invariant: a block's bit is on stable storage only after the block is. A block enters whole: what
// a smaller write leaves free is filled from the target, which does not change meanwhile.
// Thread-safety: none.
#pragma once

#include "base/disk.h"
#include "base/ids.h"
#include "egress/volume/target_io.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace cw::volume {

class Overlay {
public:
    // Opens or creates `data_path` and `map_path`. `target` outlives the overlay.
    // Errors: io_error, disk_full, record_corrupt (map damaged).
    static Result<std::unique_ptr<Overlay>> open(Disk& disk, const std::string& data_path,
                                                 const std::string& map_path, TargetIo& target,
                                                 std::uint64_t size_bytes);

    // For reading alone, beside the process that writes it: blocks that enter later show through to
    // the target. Errors: as check().
    static Result<std::unique_ptr<Overlay>> open_for_reading(Disk& disk,
                                                             const std::string& data_path,
                                                             const std::string& map_path,
                                                             TargetIo& target,
                                                             std::uint64_t size_bytes);

    // Reads whatever an overlay holds, and changes nothing; returns how much. May run beside the
    // process that writes it. Errors: record_corrupt (map), io_error (also: shorter than its map).
    static Result<std::uint64_t> check(Disk& disk, const std::string& data_path,
                                       const std::string& map_path, std::uint64_t size_bytes);

    // The same target, opened anew.
    void rebind(TargetIo& target) noexcept { target_ = &target; }

    // Sector-aligned ranges within the disk.
    Result<void> write(std::uint64_t offset, Bytes bytes);
    Result<void> zero(std::uint64_t offset, std::uint64_t length);
    // Overlay over target.
    Result<void> read(std::uint64_t offset, MutableBytes out);
    // Makes everything written durable, data before map.
    Result<void> settle();

    // The next run of overlay blocks at or after `offset`, at most `length_max` bytes; length 0:
    // none.
    struct Run {
        std::uint64_t offset = 0, length = 0;
    };
    [[nodiscard]] Run next_run(std::uint64_t offset, std::uint64_t length_max) const noexcept;
    // Bytes held.
    [[nodiscard]] std::uint64_t held_bytes() const noexcept;

private:
    Overlay(Disk& disk, TargetIo* target, std::uint64_t size_bytes);
    [[nodiscard]] bool has(std::uint64_t block) const noexcept {
        return (words_[block / 64] >> (block % 64) & 1) != 0;
    }
    Result<void> read_data(std::uint64_t offset, MutableBytes out);
    Result<void> bring_in(std::uint64_t block);
    void set(std::uint64_t block);
    Result<void> load();
    Result<void> load_beside_writer(const std::string& data_path, const std::string& map_path);
    Result<void> write_page(std::uint64_t page);

    Disk& disk_;
    TargetIo* target_;
    const std::uint64_t size_bytes_;
    std::unique_ptr<File> data_, map_;
    std::vector<std::uint64_t> words_;
    std::set<std::uint64_t> dirty_pages_;
};

}  // namespace cw::volume
