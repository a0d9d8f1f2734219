#include "appliance/cli/point.h"

#include <CLI/CLI.hpp>

namespace cw::appliance {

void add_machine_option(CLI::App& command, std::string& machine) {
    command.add_option("MACHINE", machine, "Its id")->required();
}

void add_point_option(CLI::App& command, const char* name, std::string& point) {
    command.add_option(name, point, "latest, latest-app, an id (or its beginning), or a UTC time")
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

}  // namespace cw::appliance
