// VolumeState: the one small file that decides what a work directory means. Written atomically.
#pragma once

#include "base/clock.h"
#include "base/disk.h"
#include "base/ids.h"
#include "pipeline/point.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::volume {

// `returning`: decided for a point before the held one; the overlay is being taken back to it, and
// the target is still only read.
enum class Phase : std::uint8_t { collecting = 1, switching = 2, done = 3, returning = 4 };
std::string_view name_of(Phase phase) noexcept;

// The point whose state the overlay holds (or, while merging, will hold).
struct HeldPoint {
    PointId id;
    Generation generation{};
    Seq cut{};
    WallMicros source_time{};
    pipeline::PointKind kind = pipeline::PointKind::crash;
    std::string tag = {};  // People's word: data.
    GroupId group = {};    // Nil: no group. Of a group's point while `provisional`: perhaps.
    bool provisional = false;
};

// Decisions about kept points that a state remembers; beyond them the oldest is forgotten.
inline constexpr std::size_t decided_points_max = 128, machine_name_bytes_max = 256;

struct VolumeState {
    Phase phase = Phase::collecting;
    DiskId disk;
    std::uint64_t size_bytes = 0;
    std::string target_path, target_identity;
    std::optional<HeldPoint> point;
    std::uint64_t log_number = 1;  // Entries of the redo log carry it; older ones are leftovers.
    // The merge under way began, or goes on, without an undo log: none must be made of what half a
    // merge has left in the overlay.
    bool without_undo = false;
    // Where the log's first entry continues: of the point, kept although the log is empty. Once the
    // switch is decided: what had been taken, so that people can tell what the point does not have.
    Generation generation{};
    Seq received{};
    std::string machine_name = {};  // As its agent calls itself: data.
    // Points that undo logs return to, whose groups were decided (they are points of them) after
    // the logs were written. Oldest decision first.
    std::vector<PointId> decided = {};
    // TargetProbe::written_ns() when collecting began; 0: not known.
    std::int64_t target_written_ns = 0;
};
// What an undo log says of a point, with what was decided since.
HeldPoint with_decision(HeldPoint point, const VolumeState& state);

// Without kind and tag, which came later and have a place of their own.
void append_held_point(ByteAppender& out, const HeldPoint& point);
// Errors: record_corrupt.
Result<HeldPoint> read_held_point(ByteReader& in);
// Kind and tag. Zeros stand for a crash-consistent point without a tag.
void append_point_words(ByteAppender& out, const HeldPoint& point);
// Errors: record_corrupt.
Result<void> read_point_words(ByteReader& in, HeldPoint& point);
// Group, and whether it is decided. Zeros stand for a point without a group.
void append_point_group(ByteAppender& out, const HeldPoint& point);
// Errors: record_corrupt.
Result<void> read_point_group(ByteReader& in, HeldPoint& point);

// Errors: not_found, record_corrupt, io_error.
Result<VolumeState> read_volume_state(Disk& disk, const std::string& path);
Result<void> write_volume_state(Disk& disk, const std::string& path, const VolumeState& state);

}  // namespace cw::volume
