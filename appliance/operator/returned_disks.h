// ReturnedDisks: which disks of a machine a failback has brought back, and as of which point.
//
// Each disk has a durable switch of its own, so a failback of several can end between two of them.
// A machine has failed back when each of its disks is back at one and the same point; until then
// the record says which are not. A disk is noted as `switching` before its first byte is written:
// whoever dies meanwhile leaves a record that does not count it.
//
// A value; part of a MachineRecord. Format: appliance/operator/RECORDS.md.
#pragma once

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"

#include <string>
#include <vector>

namespace cw::appliance {

enum class DiskReturn : std::uint8_t {
    missing = 1,    // Not touched for this point.
    switching = 2,  // Its switch was allowed; nobody has told since that it is done.
    back = 3,
};
std::string_view name_of(DiskReturn phase) noexcept;

struct ReturnedDisk {
    DiskId disk;
    std::string name;  // People's word: data.
    DiskReturn phase = DiskReturn::missing;
};

struct ReturnedDisks {
    PointId point;  // Nil: no failback has touched a disk.
    WallMicros point_time{};
    std::vector<ReturnedDisk> disks;  // Every disk of the point; at most returned_disks_max.

    // Some disk may be the point already, and not every one is.
    [[nodiscard]] bool half() const noexcept { return !point.is_nil() && !whole(); }
    [[nodiscard]] bool whole() const noexcept;
    // Those that are not back.
    [[nodiscard]] std::vector<ReturnedDisk> missing() const;
    [[nodiscard]] std::vector<ReturnedDisk> back() const;
    [[nodiscard]] ReturnedDisk* find(const DiskId& disk) noexcept;
};
inline constexpr std::size_t returned_disks_max = 256, returned_name_max = 256;

// "root (6ba7…), data (9c1b…)", for people.
std::string list_of(const std::vector<ReturnedDisk>& disks);
// "1 of 2 disks is back at point …; missing: data (…)". Of a half one.
std::string half_text(const ReturnedDisks& returned);

void put_returned_disks(ByteAppender& out, const ReturnedDisks& returned);
// Errors: object_corrupt, format_unsupported.
Result<ReturnedDisks> take_returned_disks(ByteReader& in);

}  // namespace cw::appliance
