#include "appliance/cli/point.h"

#include "appliance/cli/group_points.h"
#include "base/log.h"

#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>

namespace cw::appliance {
namespace {

constexpr std::string_view group_prefix = "group:", latest_group = "latest-group";

Result<const vault::PointEntry*> find_group_point(const OpenedCatalog& opened,
                                                  const GroupId& group) {
    for (const vault::PointEntry* point : opened.catalog->points()) {
        if (point->group != group) {
            continue;
        }
        CW_TRY_ASSIGN(const auto table, read_groups(opened));
        const auto verdict = table.judge(group);
        if (!verdict.whole) {
            return fail(Errc::point_not_found, "group " + to_string(group) + ": " + verdict.reason +
                                                   "; point " + to_string(point->id) +
                                                   " is this machine's alone");
        }
        return point;
    }
    return fail(Errc::point_not_found, "this machine has no point of group " + to_string(group));
}

Result<const vault::PointEntry*> find_latest_group_point(const OpenedCatalog& opened) {
    CW_TRY_ASSIGN(const auto table, read_groups(opened));
    const auto points = opened.catalog->points();
    const auto newest =
        std::find_if(points.rbegin(), points.rend(), [&table](const vault::PointEntry* point) {
            return !point->group.is_nil() && table.judge(point->group).whole;
        });
    if (newest == points.rend()) {
        return fail(Errc::point_not_found, "no group point of this machine is whole");
    }
    return *newest;
}

}  // namespace

void add_machine_option(CLI::App& command, std::string& machine) {
    command.add_option("MACHINE", machine, "Its id")->required();
}

void add_point_option(CLI::App& command, const char* name, std::string& point) {
    command
        .add_option(name, point,
                    "latest, latest-app, an id (or its beginning), a UTC time; of a group: "
                    "latest-group, group:ID")
        ->capture_default_str();
}

void add_point_options(CLI::App& command, const char* name, PointChoice& choice) {
    add_machine_option(command, choice.machine);
    add_point_option(command, name, choice.point);
    command.add_option("--disk", choice.disk, "Id or name; not needed if there is only one");
    command.add_flag("--accept-stale", choice.accept_stale,
                     "Go on although the end of what was committed is lost");
}

Result<OpenedCatalog> open_catalog(Cli& cli, const PointChoice& choice) {
    return open_catalog(cli, choice.machine, choice.accept_stale);
}

Result<const vault::PointEntry*> find_point(const OpenedCatalog& opened, const std::string& which) {
    if (which == latest_group) {
        return find_latest_group_point(opened);
    }
    if (which.starts_with(group_prefix)) {
        CW_TRY_ASSIGN(const GroupId group, parse_id<GroupId>(which.substr(group_prefix.size())));
        return find_group_point(opened, group);
    }
    return opened.catalog->find_point(which);
}

void note_left_out(const recovery::Catalog& catalog, const vault::PointEntry& point) {
    for (const vault::DiskEntry& disk : catalog.state().newest.disks) {
        if (std::ranges::find(point.cuts, disk.disk, &vault::PointEntry::Cut::disk) ==
            point.cuts.end()) {
            std::fprintf(stderr, "note: disk %s is not in this point: it is not brought back\n",
                         escape_for_display(disk.name).c_str());
        }
    }
}

}  // namespace cw::appliance
