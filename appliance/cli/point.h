// How a command is told of a machine, a point and a disk.
#pragma once

#include "appliance/cli/cli.h"

#include <string>

namespace cw::appliance {

struct PointChoice {
    std::string machine;           // Its id.
    std::string point = "latest";  // As find_point().
    std::string disk;              // Id or name; empty: the only one.
    bool accept_stale = false;
};

void add_machine_option(CLI::App& command, std::string& machine);
// `name`: "--point", or "POINT" where it is a word of its own.
void add_point_option(CLI::App& command, const char* name, std::string& point);
// Those, --disk and --accept-stale.
void add_point_options(CLI::App& command, const char* name, PointChoice& choice);

// Opens the machine's history. Errors: as open_catalog().
Result<OpenedCatalog> open_catalog(Cli& cli, const PointChoice& choice);
// `which`: as Catalog::find_point(), and this machine's part of a group's point, "group:ID" or
// "latest-group". Errors: those of Catalog::find_point(); point_not_found (not every member of the
// group has its part any more: then there is no such point); those of reading the other machines.
Result<const vault::PointEntry*> find_point(const OpenedCatalog& opened, const std::string& which);

// On stderr: which of the machine's disks a failover or a failback to this point leaves out.
void note_left_out(const recovery::Catalog& catalog, const vault::PointEntry& point);

}  // namespace cw::appliance
