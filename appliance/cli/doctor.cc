// causeway doctor | support-bundle.
#include "appliance/operator/doctor.h"

#include "appliance/cli/cli.h"
#include "appliance/cli/job_text.h"
#include "appliance/control_client.h"
#include "base/log.h"

#include <cstdio>
#include <fstream>
#include <regex>
#include <sstream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <sys/utsname.h>

namespace cw::appliance {
namespace {

using nlohmann::json;

json checks_json(const std::vector<DoctorCheck>& checks) {
    json out = json::array();
    for (const DoctorCheck& check : checks) {
        out.push_back({{"check", check.name},
                       {"level", name_of(check.level)},
                       {"detail", check.detail},
                       {"next", check.next}});
    }
    return out;
}

Result<void> doctor(Cli& cli) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    std::vector<DoctorCheck> checks{
        {"configuration", CheckLevel::ok, cli.config_path + " is valid", ""}};
    for (DoctorCheck& check : run_doctor(settings, cli.seams)) {
        checks.push_back(std::move(check));
    }
    if (cli.json) {
        print_json({{"level", name_of(worst_of(checks))}, {"checks", checks_json(checks)}});
    } else {
        for (const DoctorCheck& check : checks) {
            std::printf("%-8s %-14s %s\n", std::string(name_of(check.level)).c_str(),
                        check.name.c_str(), escape_for_display(check.detail, job_text_max).c_str());
            if (!check.next.empty()) {
                std::printf("         next: %s\n", escape_for_display(check.next).c_str());
            }
        }
    }
    cli.exit_code = worst_of(checks) == CheckLevel::failed ? 1 : 0;
    return {};
}

// The one place of the configuration that can hold a credential: user:password@ of a proxy.
std::string without_credentials(const std::string& text) {
    static const std::regex user(R"(://[^/@\s"]*@)");
    return std::regex_replace(text, user, "://***@");
}

std::string os_release() {
    std::ifstream file("/etc/os-release");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

// What the daemon says, or why it does not.
json asked(const std::string& socket_path, const std::string& name) {
    const auto text = ControlClient{socket_path}.get(name);
    if (!text) {
        return to_string(text.error());
    }
    json parsed = json::parse(*text, nullptr, false);
    return parsed.is_discarded() ? json("not JSON") : parsed;
}

json all_records(Cli& cli, const config::Settings& settings) {
    json out = json::array();
    const auto access = open_vault_access(settings, cli.seams);
    if (!access) {
        return to_string(access.error());
    }
    const auto store = access->stores->make();
    const auto machines = make_site(settings, cli.seams, *access, *store)->machines();
    if (!machines) {
        return to_string(machines.error());
    }
    MachineRecords records(*store, access->identity);
    for (const MachineId& machine : *machines) {
        const auto record = records.load(machine);
        if (!record) {
            out.push_back({{"machine", to_string(machine)}, {"error", to_string(record.error())}});
            continue;
        }
        const WallMicros now = cli.seams.clock->wall();
        const MachineRecord standing = as_it_stands(*record, now);
        json entry{{"machine", to_string(machine)},
                   {"state", name_of(standing.state)},
                   {"jobs", json::array()}};
        for (const Job& job : standing.jobs) {
            entry["jobs"].push_back(job_json(job, standing, machine, now));
        }
        out.push_back(std::move(entry));
    }
    return out;
}

// Only what is named here goes in: settings hold the names of secret files, never their content,
// and no file but /etc/os-release is read.
Result<void> support_bundle(Cli& cli, const std::string& path) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    const std::string socket_path = settings.server_state_dir + "/control.sock";
    utsname system{};
    ::uname(&system);
    const json bundle{
        {"what", "causeway support bundle"},
        {"version", "0.1.0"},
        {"made", recovery::time_text(cli.seams.clock->wall())},
        {"system",
         {{"kernel", std::string(system.sysname) + " " + system.release + " " + system.machine},
          {"os_release", os_release()}}},
        {"settings", without_credentials(config::explain_settings(settings))},
        {"doctor", checks_json(run_doctor(settings, cli.seams))},
        {"status", asked(socket_path, "status")},
        {"events", asked(socket_path, "events")},
        {"machines", all_records(cli, settings)}};
    const std::string text = bundle.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
    CW_TRY(write_file_atomically(*cli.seams.disk, path, as_bytes(text)));
    if (cli.json) {
        print_json({{"bundle", path}, {"bytes", text.size()}});
    } else {
        std::printf("%s: %zu bytes of text without any secret; read it before you send it\n",
                    path.c_str(), text.size());
    }
    return {};
}

}  // namespace

void add_doctor_commands(CLI::App& app, Cli& cli) {
    app.add_subcommand("doctor", "Is everything there that a bad day needs? Touches nothing")
        ->callback([&cli] { cli.run([&] { return doctor(cli); }); });

    CLI::App* bundle =
        app.add_subcommand("support-bundle", "What helps others to help: one file, no secrets");
    auto path = std::make_shared<std::string>("causeway-support.json");
    bundle->add_option("--output", *path, "File to write")->capture_default_str();
    bundle->callback([&cli, path] { cli.run([&] { return support_bundle(cli, *path); }); });
}

}  // namespace cw::appliance
