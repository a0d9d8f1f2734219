// The hint of a failback: what was written since the disks were the same, so that the rest of the
// old disk need not be read.
//
// `causeway changes` makes it of the bitmap that a failover left in its qcow2 image: QEMU has
// recorded there every write since the image was the point. It says whose it is, since which point
// and until which; judge_hint() decides whether that is enough. What the vault knows refutes a
// bitmap that was another machine's (recovery/failback.h). That the old disk is as it was at the
// point nobody but a person can know: a time of modification says when it is certainly not, and no
// more (a copy keeps it, and so does a file whose last pages were lost with their machine's power).
#pragma once

#include "base/error.h"
#include "recovery/failback.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cw::appliance {

// A place in a disk's history. Later histories have higher generations.
struct HistoryMark {
    Generation generation{};
    Seq cut{};
    friend auto operator<=>(const HistoryMark&, const HistoryMark&) = default;
};

struct HintOrigin {
    MachineId machine;
    DiskId disk;
    std::uint64_t size_bytes = 0;
    PointId since;            // What was failed over to: the image was this when recording began.
    WallMicros since_time{};  // Of the source, when that point was cut.
    HistoryMark since_mark;
    HistoryMark until;  // The newest point that was in the vault before the bitmap was read.
};

struct FailbackHintFile {
    std::optional<HintOrigin> origin;  // Without one somebody wrote the file by hand.
    std::vector<recovery::ByteRange> ranges;
};

// Bitmaps of this name, and the point's id, stand in the images that failovers write.
inline constexpr std::string_view since_prefix = "since-";

std::string print_hint(const HintOrigin& origin, const std::vector<recovery::ByteRange>& ranges);
// As print_hint() wrote it; or lines "OFFSET LENGTH", or what
// `nbdinfo --map=qemu:dirty-bitmap:NAME --json` prints, of which the entries whose type has its
// lowest bit set are dirty. `name` is for messages. Errors: usage.
Result<FailbackHintFile> parse_failback_hint(std::string_view text, const std::string& name);

struct HintUse {
    MachineId machine;
    DiskId disk;
    std::uint64_t size_bytes = 0;
    HistoryMark point;                         // What the old disk is to become.
    bool since_is_there = false;               // The hint's point is in the vault still.
    std::optional<WallMicros> target_written;  // nullopt: nobody can tell (a device).
    // Of the newest point before the hint's that has fewer writes of the disk. nullopt: none.
    std::optional<WallMicros> earlier_point;
    bool target_trusted = false;  // Somebody says that it is as it was at the hint's point.
};
// Why the hint cannot be believed, and everything is to be compared; nullopt: it can.
// Errors: usage (it is another machine's or disk's, or of another size).
Result<std::optional<std::string>> judge_hint(const HintOrigin& origin, const HintUse& use);

}  // namespace cw::appliance
