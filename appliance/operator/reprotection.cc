#include "appliance/operator/reprotection.h"

#include "base/log.h"
#include "pipeline/generation.h"

#include <algorithm>

namespace cw::appliance {
namespace {

using Cut = vault::PointEntry::Cut;

constexpr const char* start_there =
    "start the agent on the machine that runs now, with this machine's certificate and an empty "
    "--state";

// The point that was brought back; if it was pruned since, the newest of those before it.
const vault::PointEntry* point_before(const recovery::Catalog& catalog,
                                      const MachineRecord& record) {
    if (const auto exact = catalog.find_point(to_string(record.point))) {
        return *exact;
    }
    const vault::PointEntry* newest = nullptr;
    for (const vault::PointEntry* point : catalog.points()) {
        if (point->manifest <= record.manifest && point->source_time <= record.point_time &&
            (newest == nullptr || point->manifest > newest->manifest)) {
            newest = point;
        }
    }
    return newest;
}

bool is_named(const recovery::DiskAtPoint& disk, const std::vector<std::string>& words) {
    return std::ranges::any_of(words, [&disk](const std::string& word) {
        return word == to_string(disk.disk) || (!disk.name.empty() && word == disk.name);
    });
}

// The disks of `point` that `other` has not, by name and id, for people.
std::string list_lacking(const recovery::Catalog& catalog, const vault::PointEntry& point,
                         const vault::PointEntry& other, const std::vector<std::string>& without) {
    std::vector<ReturnedDisk> out;
    for (const Cut& cut : point.cuts) {
        const recovery::DiskAtPoint disk = catalog.disk_at(cut);
        if (std::ranges::find(other.cuts, cut.disk, &Cut::disk) == other.cuts.end() &&
            !is_named(disk, without)) {
            out.push_back({disk.disk, disk.name, DiskReturn::missing});
        }
    }
    return list_of(out);
}

std::string shown(const vault::PointEntry& point) {
    return to_string(point.id) + " of " + recovery::time_text(point.source_time);
}

// The old source, should it still run, has its state and goes on with the old generation of each
// disk, or, if it could not prove its history, with a new one of the same origin.
std::optional<std::string> still_sent_by_old_source(const recovery::Catalog& catalog,
                                                    const vault::PointEntry& before,
                                                    const vault::PointEntry& newest) {
    for (const Cut& cut : newest.cuts) {
        const auto old = std::ranges::find(before.cuts, cut.disk, &Cut::disk);
        if (old != before.cuts.end() &&
            pipeline::origin_of(cut.generation) == pipeline::origin_of(old->generation)) {
            const bool anew = cut.generation != old->generation;
            return "the newest point, " + shown(newest) +
                   ", is not of the machine that runs now: disk " + to_string(cut.disk) +
                   " is still sent by the old source, whose agent, " +
                   escape_for_display(catalog.state().newest.machine_name) +
                   (anew ? ", was started anew with the state that it had before the failover"
                         : ", still runs") +
                   "; stop that agent, then " + start_there;
        }
    }
    return std::nullopt;
}

std::optional<std::string> disks_not_in(const recovery::Catalog& catalog,
                                        const vault::PointEntry& before,
                                        const vault::PointEntry& newest,
                                        const std::vector<std::string>& without) {
    const std::string lacking = list_lacking(catalog, before, newest, without);
    if (lacking.empty()) {
        return std::nullopt;
    }
    const std::string added = list_lacking(catalog, newest, before, {});
    return "the newest point, " + shown(newest) + ", does not have " + lacking +
           ", which the failover brought back" +
           (added.empty() ? ""
                          : "; it has " + added +
                                ", which the failover did not: if that is the same disk on the "
                                "machine that runs now, give it its name of before (--disk-name); "
                                "if the old source sends it, stop that agent") +
           "; protect every disk where the machine runs, and wait for the next point; of one that "
           "it goes on without, say so: --without DISK";
}

}  // namespace

std::optional<std::string> still_missing(const recovery::Catalog& catalog,
                                         const MachineRecord& record,
                                         const std::vector<std::string>& without) {
    const auto newest = catalog.find_point("latest");
    if (!newest || (*newest)->manifest <= record.manifest) {
        return std::string("no recovery point since the failover was committed: ") + start_there;
    }
    const vault::PointEntry* const before = point_before(catalog, record);
    if (before == nullptr) {
        return std::nullopt;  // All pruned: what is newer than the commit must do.
    }
    if (auto old_source = still_sent_by_old_source(catalog, *before, **newest)) {
        return old_source;
    }
    return disks_not_in(catalog, *before, **newest, without);
}

}  // namespace cw::appliance
