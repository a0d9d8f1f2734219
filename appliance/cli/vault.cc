// causeway vault create, machines, points, verify: straight from the vault, without any daemon.
#include "appliance/cli/group_points.h"
#include "appliance/cli/point.h"
#include "appliance/cli/second_site.h"
#include "appliance/operator/record_json.h"
#include "base/log.h"
#include "recovery/catalog.h"
#include "recovery/verify.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

// What people or peers chose, as a terminal may see it.
std::string shown(const json& text) {
    return escape_for_display(text.get<std::string>(), 4096);
}

Result<void> create(Cli& cli) {
    CW_TRY(check_has_vault(cli, "its daemon makes what it needs when it starts"));
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    CW_TRY_ASSIGN(const VaultAccess access, create_vault_access(settings, cli.seams));
    if (cli.json) {
        print_json({{"vault", to_string(access.identity.id)},
                    {"url", access.stores->describe()},
                    {"kek_file", settings.security_kek_file},
                    {"signing_key", to_hex(access.identity.signing_key)}});
        return {};
    }
    std::printf(
        "vault %s at %s\nkey file %s: copy its content to paper or a safe now; without it nothing "
        "in the vault can be read\n",
        to_string(access.identity.id).c_str(), access.stores->describe().c_str(),
        settings.security_kek_file.c_str());
    return {};
}

Result<void> machines(Cli& cli) {
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto ids, vault.site->machines());
    json out = json::array();
    Result<void> result;  // One damaged machine must not hide the others.
    for (const MachineId& id : ids) {
        const auto catalog = vault.site->open(id, false);
        if (!catalog) {
            out.push_back({{"id", to_string(id)}, {"error", to_string(catalog.error())}});
            result = fail(catalog.error().code, "machine " + to_string(id) + " cannot be read");
            continue;
        }
        const vault::Manifest& newest = catalog->state().newest;
        out.push_back({{"id", to_string(id)},
                       {"name", newest.machine_name},
                       {"disks", newest.disks.size()},
                       {"points", catalog->points().size()},
                       {"manifest", newest.number}});
    }
    if (cli.json) {
        print_json(out);
        return result;
    }
    for (const json& machine : out) {
        const std::string id = machine["id"].get<std::string>();
        if (machine.contains("error")) {
            std::printf("%s  ! %s\n", id.c_str(), shown(machine["error"]).c_str());
            continue;
        }
        std::printf("%s  %s  %d disks, %d points\n", id.c_str(), shown(machine["name"]).c_str(),
                    machine["disks"].get<int>(), machine["points"].get<int>());
    }
    return result;
}

// What a point is to its group, as judge_groups() found it.
std::string group_text(const json& point) {
    if (!point.contains("group")) {
        return {};
    }
    return point.value("group_whole", false)
               ? "  group " + point.value("group", "")
               : "  (its group's point is gone: " + point.value("group_reason", "") + ")";
}

Result<void> points(Cli& cli, const std::string& machine_text, bool accept_stale) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, machine_text, accept_stale));
    json out = json::array();
    for (const vault::PointEntry* point : opened.catalog->points()) {
        out.push_back(point_json(*opened.catalog, *point));
    }
    CW_TRY(judge_groups(opened, out));
    if (cli.json) {
        print_json(out);
        return {};
    }
    for (const json& point : out) {
        std::printf("%s  %s  %-10s %s%s\n", point["id"].get<std::string>().c_str(),
                    point["time"].get<std::string>().c_str(),
                    point["kind"].get<std::string>().c_str(), shown(point["tag"]).c_str(),
                    group_text(point).c_str());
    }
    if (out.empty()) {
        std::puts("no recovery points yet");
    }
    return {};
}

json findings_json(const std::vector<recovery::Finding>& findings) {
    json out = json::array();
    for (const recovery::Finding& finding : findings) {
        out.push_back({{"object", finding.object},
                       {"code", name_of(finding.error.code)},
                       {"detail", finding.error.detail}});
    }
    return out;
}

json verify_json(const recovery::Catalog& catalog, const recovery::VerifyReport& report) {
    json out{{"verdict", recovery::name_of(report.verdict())},
             {"level", recovery::name_of(report.depth)},
             {"manifest", report.manifest_number},
             {"manifest_hash", to_hex(report.manifest_hash)},
             {"manifests_checked", report.manifests_checked},
             {"oldest_manifest", report.oldest_manifest},
             {"segments_checked", report.segments_checked},
             {"chunks_checked", report.chunks_checked},
             {"bytes_fetched", report.bytes_fetched},
             {"chain_findings", findings_json(report.chain_findings)},
             {"segment_findings", findings_json(report.segment_findings)},
             {"points", json::array()}};
    for (const recovery::PointVerdict& point : report.points) {
        json entry = point_json(catalog, point.point);
        entry["verdict"] = recovery::name_of(point.verdict);
        entry["findings"] = findings_json(point.findings);
        out["points"].push_back(std::move(entry));
    }
    return out;
}

void print_verify(const json& report) {
    for (const json& point : report["points"]) {
        std::printf("%s  %s  %s", point["id"].get<std::string>().c_str(),
                    point["time"].get<std::string>().c_str(),
                    point["verdict"].get<std::string>().c_str());
        for (const json& disk : point["disks"]) {
            std::printf("  last write %llu of %s",
                        static_cast<unsigned long long>(disk["sequence"].get<std::uint64_t>()),
                        shown(disk["name"]).c_str());
        }
        std::puts("");
    }
    for (const char* part : {"chain_findings", "segment_findings"}) {
        for (const json& finding : report[part]) {
            std::printf("  ! %s: %s %s\n", shown(finding["object"]).c_str(),
                        finding["code"].get<std::string>().c_str(),
                        shown(finding["detail"]).c_str());
        }
    }
    std::printf("%s: %llu manifests down to number %llu, %llu segments, %llu chunks opened%s\n",
                report["verdict"].get<std::string>().c_str(),
                static_cast<unsigned long long>(report["manifests_checked"].get<std::uint64_t>()),
                static_cast<unsigned long long>(report["oldest_manifest"].get<std::uint64_t>()),
                static_cast<unsigned long long>(report["segments_checked"].get<std::uint64_t>()),
                static_cast<unsigned long long>(report["chunks_checked"].get<std::uint64_t>()),
                report["level"] == "full" ? "" : "; --level full opens every byte of them");
}

Result<void> verify(Cli& cli, const std::string& machine_text, recovery::VerifyDepth depth) {
    CW_TRY_ASSIGN(const bool master_target, is_master_target(cli));
    if (master_target) {
        return target_verify(cli, machine_text);
    }
    // What is lost is a finding here.
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, machine_text, true));
    recovery::VerifyOptions options;
    options.depth = depth;
    options.download_threads = opened.download_threads;
    ProgressLine progress(*cli.seams.clock, "verified", ProgressLine::Unit::items);
    CW_TRY_ASSIGN(const auto report,
                  recovery::verify_machine(
                      *opened.store, *opened.catalog, options, *cli.seams.random,
                      [&](std::uint64_t done, std::uint64_t all) { progress.update(done, all); }));
    progress.finish();
    const json out = verify_json(*opened.catalog, report);
    if (cli.json) {
        print_json(out);
    } else {
        print_verify(out);
    }
    if (report.verdict() == recovery::Verdict::unusable) {
        return fail(Errc::object_corrupt, "see the findings above");
    }
    if (report.verdict() == recovery::Verdict::unknown) {
        return fail(Errc::blob_unavailable,
                    "some objects could not be read: their state is unknown");
    }
    return {};
}

}  // namespace

void print_json(const json& value) {
    std::puts(value.dump(2, ' ', true, json::error_handler_t::replace).c_str());
}

Result<OpenedVault> open_vault(Cli& cli) {
    OpenedVault vault;
    CW_TRY_ASSIGN(vault.settings, cli.settings());
    CW_TRY_ASSIGN(vault.access, open_vault_access(vault.settings, cli.seams));
    vault.store = vault.access.stores->make();
    vault.site = make_site(vault.settings, cli.seams, vault.access, *vault.store);
    return vault;
}

Result<std::vector<MachineId>> chosen_machines(const OpenedVault& vault,
                                               const std::string& machine_text) {
    if (machine_text.empty()) {
        return vault.site->machines();
    }
    CW_TRY_ASSIGN(const MachineId machine, parse_id<MachineId>(machine_text));
    return std::vector{machine};
}

Result<OpenedCatalog> open_catalog(Cli& cli, const std::string& machine_text, bool accept_stale) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    return open_catalog(settings, cli.seams, machine_text, accept_stale);
}

void add_vault_commands(CLI::App& app, Cli& cli) {
    CLI::App* vault = app.add_subcommand("vault", "The vault itself");
    vault->require_subcommand(1);
    vault
        ->add_subcommand("create", "Make the key file (if absent) and the vault's containers, once")
        ->callback([&cli] { cli.run([&] { return create(cli); }); });

    auto machine = std::make_shared<std::string>();
    CLI::App* machines_command = app.add_subcommand(
        "machines", "Machines with a history in the vault; or one: its state and what is allowed");
    machines_command->add_option("MACHINE", *machine, "Its id");
    machines_command->callback([&cli, machine] {
        cli.run([&] { return machine->empty() ? machines(cli) : show_machine(cli, *machine); });
    });

    CLI::App* points_command = app.add_subcommand("points", "Recovery points, oldest first");
    points_command->add_option("MACHINE", *machine, "Its id");
    auto accept_stale = std::make_shared<bool>(false);
    points_command->add_flag("--accept-stale", *accept_stale,
                             "As far as the history can be proven, although its end is lost");
    auto group = std::make_shared<std::string>();
    points_command
        ->add_option("--group", *group, "One group's points, at all machines; MACHINE is not given")
        ->excludes("MACHINE");
    points_command->callback([&cli, machine, accept_stale, group] {
        cli.run([&]() -> Result<void> {
            if (group->empty() && machine->empty()) {
                return fail(Errc::usage, "say a machine's id, or --group and a group's");
            }
            return group->empty() ? points(cli, *machine, *accept_stale)
                                  : group_points(cli, *group);
        });
    });

    auto level = std::make_shared<std::string>("index");
    CLI::App* verify_command = app.add_subcommand(
        "verify", "Prove from the vault alone which points are whole; touches nothing");
    add_machine_option(*verify_command, *machine);
    verify_command->add_option("--level,--depth", *level, "index, sampled (1 chunk in 64) or full")
        ->check(CLI::IsMember({"index", "sampled", "full"}))
        ->capture_default_str();
    verify_command->callback([&cli, machine, level] {
        const auto depth = *level == "full"      ? recovery::VerifyDepth::full
                           : *level == "sampled" ? recovery::VerifyDepth::sampled
                                                 : recovery::VerifyDepth::index;
        cli.run([&] { return verify(cli, *machine, depth); });
    });
}

}  // namespace cw::appliance
