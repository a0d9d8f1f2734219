// ScanSource: finds what changed on disks that nobody writes through us, by comparing every 64 KiB
// block with its fingerprint.
//
// A scan makes a recovery point only of a frozen view: between the freezer's freeze and thaw, or of
// a reflink clone or LVM snapshot (made while frozen, or of a single disk, whose clone is one
// instant by itself). A file system that lies on the volume itself is frozen by lvcreate, which
// fails if it is frozen already (docs/decisions/0020). Of anything else it sends the differences,
// so that little is left for later, and makes no point: Errc::source_unfrozen says so.
//
// A passive object: step() reads at most one super-chunk. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/hints/scan_hints.h"
#include "agent/scan/freezer.h"
#include "agent/scan/volume_snapshots.h"
#include "agent/stream/digest_table.h"
#include "agent/stream/point_source.h"
#include "agent/stream/replicator.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

class ScanSource final : public PointSource {
public:
    struct Disk {
        DiskCapture* capture = nullptr;
        std::string path, clone_path;  // clone_path: beside the image, for a reflink.
        DigestTable digests;
        std::unique_ptr<ScanHints> hints = nullptr;  // None: everything is read each time.
    };
    struct Options {
        bool app_consistent = false;  // What the hooks guarantee.
        bool try_clones = true;
        bool insist_on_snapshots = false;  // Else it reads what is frozen if there are none.
        std::string mount = {};            // What the freezer freezes; empty: no file system.
    };
    // `snapshots`: of all the disks in their order, or none.
    ScanSource(Options options, Replicator& replicator, Freezer& freezer, std::vector<Disk> disks,
               std::unique_ptr<VolumeSnapshots> snapshots = nullptr);

    // False also while the post-hook of the scan before runs.
    bool begin(std::string tag) override;
    [[nodiscard]] bool running() const noexcept override { return phase_ != Phase::idle; }
    bool step() override;
    [[nodiscard]] bool resized() const noexcept override { return resized_; }
    [[nodiscard]] const std::optional<Result<PointId>>& outcome() const noexcept override {
        return outcome_;
    }
    [[nodiscard]] const std::vector<Disk>& disks() const noexcept { return disks_; }
    [[nodiscard]] bool has_snapshots() const noexcept { return snapshots_ != nullptr; }
    // Why the last scan was not of snapshots.
    [[nodiscard]] const std::optional<Error>& snapshot_error() const noexcept {
        return snapshot_error_;
    }
    [[nodiscard]] std::uint64_t differing_bytes() const noexcept { return differing_bytes_; }

private:
    enum class Phase {
        idle,
        owing,
        preparing,  // Of snapshots, before anybody is held.
        freezing,
        creating,  // The snapshots.
        thawing,
        finding,  // Where they are.
        scanning,
        checking,  // That they are whole still.
        removing
    };
    // scan_views.cc: what is read.
    void hold_still();
    void take_views();
    bool step_preparing();
    bool step_creating();
    bool step_finding();
    bool step_checking();
    bool step_removing();
    void fail_snapshots(const Error& why);
    void remove_snapshots();
    [[nodiscard]] std::optional<Error> snapshots_hindered() const;
    [[nodiscard]] bool lies_on_disk(const std::string& mount) const;
    // scan_source.cc
    bool step_thawing();
    void finish();
    // Errors: size_mismatch: what is beyond the size that the server knows would be in no point.
    [[nodiscard]] Result<void> check_disks();
    // What each disk's hints leave to be read.
    [[nodiscard]] Result<void> take_hints();
    bool scan_some();
    // Into the buffer, where they lie in the super-chunk; the rest of it is of no interest.
    Result<void> read_blocks(Disk& disk, BlockImage& view, std::uint32_t ordinal,
                             std::uint64_t mask);
    // False: no room now.
    Result<bool> scan_chunk(Disk& disk, BlockImage& view, std::uint32_t ordinal);
    void end_scan();
    void abandon(const Error& why);

    const Options options_;
    Replicator& replicator_;
    Freezer& freezer_;
    std::vector<Disk> disks_;
    Phase phase_ = Phase::idle;
    std::string tag_;
    std::unique_ptr<VolumeSnapshots> snapshots_;
    std::vector<std::unique_ptr<BlockImage>> clones_;  // Or snapshots. Closed before they go.
    bool snapping_ = false;                            // This scan is of snapshots.
    std::optional<Error> snapshot_error_;
    bool still_ = false;                   // The view does not change under the scan.
    std::optional<WallMicros> viewed_at_;  // When clones or snapshots were made; nullopt: none are.
    bool resized_ = false;
    bool held_ = false;  // The freezer holds it still: thaw as soon as possible.
    std::size_t disk_at_ = 0;
    std::uint32_t ordinal_ = 0;
    ByteVector buffer_;
    std::uint64_t differing_bytes_ = 0;
    std::optional<Error> trouble_;
    std::optional<Result<PointId>> outcome_;
};

}  // namespace cw::agent
