#include "appliance/operator/returned_disks.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>

namespace cw::appliance {

std::string_view name_of(DiskReturn phase) noexcept {
    switch (phase) {
        case DiskReturn::missing:
            return "missing";
        case DiskReturn::switching:
            return "switching";
        case DiskReturn::back:
            return "back";
    }
    return "";
}

bool ReturnedDisks::whole() const noexcept {
    return !disks.empty() && std::ranges::all_of(disks, [](const ReturnedDisk& disk) {
        return disk.phase == DiskReturn::back;
    });
}

std::vector<ReturnedDisk> ReturnedDisks::missing() const {
    std::vector<ReturnedDisk> out;
    std::ranges::copy_if(disks, std::back_inserter(out),
                         [](const ReturnedDisk& disk) { return disk.phase != DiskReturn::back; });
    return out;
}

std::vector<ReturnedDisk> ReturnedDisks::back() const {
    std::vector<ReturnedDisk> out;
    std::ranges::copy_if(disks, std::back_inserter(out),
                         [](const ReturnedDisk& disk) { return disk.phase == DiskReturn::back; });
    return out;
}

ReturnedDisk* ReturnedDisks::find(const DiskId& disk) noexcept {
    const auto found = std::ranges::find(disks, disk, &ReturnedDisk::disk);
    return found == disks.end() ? nullptr : &*found;
}

std::string list_of(const std::vector<ReturnedDisk>& disks) {
    std::string out;
    for (const ReturnedDisk& disk : disks) {
        const std::string id = to_string(disk.disk);
        out += out.empty() ? "" : ", ";
        out += disk.name.empty() ? id : escape_for_display(disk.name) + " (" + id + ")";
        out += disk.phase == DiskReturn::switching ? ", whose switch had begun" : "";
    }
    return out;
}

std::string half_text(const ReturnedDisks& returned) {
    return std::to_string(returned.back().size()) + " of " + std::to_string(returned.disks.size()) +
           " disks are back at point " + to_string(returned.point) +
           "; missing: " + list_of(returned.missing());
}

void put_returned_disks(ByteAppender& out, const ReturnedDisks& returned) {
    CW_ASSERT(returned.disks.size() <= returned_disks_max);
    out.bytes(returned.point.bytes);
    out.u64(static_cast<std::uint64_t>(raw(returned.point_time)));
    out.u16(static_cast<std::uint16_t>(returned.disks.size()));
    for (const ReturnedDisk& disk : returned.disks) {
        out.bytes(disk.disk.bytes);
        out.u8(raw(disk.phase));
        out.text16(std::string_view(disk.name).substr(0, returned_name_max));
    }
}

Result<ReturnedDisks> take_returned_disks(ByteReader& in) {
    ReturnedDisks returned;
    CW_TRY_ASSIGN(returned.point.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint64_t time, in.u64());
    returned.point_time = WallMicros{static_cast<std::int64_t>(time)};
    CW_TRY_ASSIGN(const std::uint16_t count, in.u16());
    if (count > returned_disks_max) {
        return fail(Errc::object_corrupt, std::to_string(count) + " disks in a machine record");
    }
    for (std::uint16_t i = 0; i < count; ++i) {
        ReturnedDisk disk;
        CW_TRY_ASSIGN(disk.disk.bytes, in.array<16>());
        CW_TRY_ASSIGN(const std::uint8_t phase, in.u8());
        if (phase < raw(DiskReturn::missing) || phase > raw(DiskReturn::back)) {
            return fail(Errc::format_unsupported, "a disk's return " + std::to_string(phase));
        }
        disk.phase = DiskReturn{phase};
        CW_TRY_ASSIGN(disk.name, in.text16(returned_name_max));
        returned.disks.push_back(std::move(disk));
    }
    return returned;
}

}  // namespace cw::appliance
