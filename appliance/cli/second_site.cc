// causeway verify against a master target.
#include "appliance/cli/second_site.h"

#include "appliance/cli/daemon_targets.h"
#include "appliance/site_records.h"
#include "base/log.h"
#include "egress/volume/point_check.h"
#include "recovery/catalog.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

// Of one target, newest first.
std::vector<json> points_of(const json& target) {
    std::vector<json> out;
    if (target.contains("point")) {
        out.push_back(target["point"]);
    }
    for (const json& earlier : target.value("earlier_points", json::array())) {
        out.push_back(earlier);
    }
    return out;
}

// Those that every target of the machine can become, newest first.
std::vector<json> common_points(const json& targets) {
    std::vector<json> common = points_of(targets[0]);
    for (const json& target : targets) {
        const std::vector<json> here = points_of(target);
        std::erase_if(common, [&](const json& point) {
            return std::ranges::none_of(
                here, [&](const json& other) { return other["id"] == point["id"]; });
        });
    }
    return common;
}

std::string time_of(const json& point) {
    return recovery::time_text(WallMicros{point.value("source_time_us", std::int64_t{0})});
}

// What a switch of this target to `point` would meet.
json findings_of(const json& target, const json& point,
                 const Result<std::vector<volume::PointCheck>>& checks, std::uint64_t& bytes) {
    const std::string where = target.value("path", "");
    const auto finding = [&](const Error& error) {
        return json{{{"object", where}, {"code", name_of(error.code)}, {"detail", error.detail}}};
    };
    if (!checks) {
        return finding(checks.error());
    }
    const auto check = std::ranges::find_if(
        *checks, [&](const auto& one) { return to_string(one.point.id) == point.value("id", ""); });
    if (check == checks->end()) {
        return finding({Errc::record_corrupt, "the daemon names it, and nothing leads to it"});
    }
    bytes += check->read_bytes;
    return check->trouble ? finding(*check->trouble) : json::array();
}

void print_checks(const json& report) {
    for (const json& point : report["points"]) {
        std::printf("%s  %s  %s\n", point.value("id", "").c_str(), point.value("time", "").c_str(),
                    point.value("verdict", "").c_str());
        for (const json& finding : point["findings"]) {
            std::printf("  ! %s: %s %s\n", escape_for_display(finding.value("object", "")).c_str(),
                        finding.value("code", "").c_str(),
                        escape_for_display(finding.value("detail", ""), 4096).c_str());
        }
    }
    std::printf("%s: %zu points, %s read\n", report.value("verdict", "").c_str(),
                report["points"].size(),
                config::format_bytes(report.value("bytes_read", std::uint64_t{0})).c_str());
}

}  // namespace

Result<void> target_verify(Cli& cli, const std::string& machine) {
    CW_TRY_ASSIGN(const json targets, targets_of(cli, machine));
    json report{{"verdict", "intact"}, {"bytes_read", 0}, {"points", json::array()}};
    std::vector<Result<std::vector<volume::PointCheck>>> checks;
    for (const json& target : targets) {
        checks.push_back(volume::check_points(*cli.seams.disk, target.value("work_directory", "")));
    }
    // Asked again: what was given up while the checks ran is no loss.
    CW_TRY_ASSIGN(const json now, targets_of(cli, machine));
    std::vector<json> points = common_points(now);
    std::erase_if(points, [&](const json& point) {  // What came since was not looked at.
        return std::ranges::none_of(common_points(targets),
                                    [&](const json& one) { return one["id"] == point["id"]; });
    });
    std::ranges::reverse(points);  // Oldest first, as from a vault.
    std::uint64_t bytes = 0;
    for (const json& point : points) {
        json out{{"id", point["id"]},
                 {"time", time_of(point)},
                 {"verdict", "intact"},
                 {"findings", json::array()}};
        for (std::size_t i = 0; i < targets.size(); ++i) {
            if (targets[i].value("phase", "") == "done") {
                continue;  // It is the point: nothing has to be read to become it.
            }
            for (json& one : findings_of(targets[i], point, checks[i], bytes)) {
                out["findings"].push_back(std::move(one));
                out["verdict"] = report["verdict"] = "unusable";
            }
        }
        report["points"].push_back(std::move(out));
    }
    report["bytes_read"] = bytes;
    if (cli.json) {
        print_json(report);
    } else {
        print_checks(report);
    }
    return report["verdict"] == "intact" ? Result<void>{}
                                         : fail(Errc::record_corrupt, "see the findings above");
}

Result<std::optional<HalfFailover>> half_failover(const OpenedCatalog& opened,
                                                  const MachineRecord& record) {
    const bool at_work = std::ranges::any_of(record.jobs, [](const Job& job) {
        return job.verb != Verb::drill && job.state == JobState::running;
    });
    const bool failed_over = record.state == MachineState::failed_over;
    if (at_work || (record.state != MachineState::protected_ && !failed_over)) {
        return std::nullopt;
    }
    const std::string machine = to_string(opened.catalog->machine());
    HalfFailover half;
    CW_TRY_ASSIGN(half.targets, opened.site->switched_targets(opened.catalog->machine()));
    if (failed_over) {
        const auto still = std::ranges::count(half.targets, record.point, &SwitchedTarget::point);
        if (record.targets_made == 0 || still == record.targets_made) {
            return std::nullopt;
        }
        half.what = "not every target is that point any more";
        half.next = "causeway undo-failover " + machine + " gives up the rest, too";
        return half;
    }
    if (half.targets.empty()) {
        return std::nullopt;
    }
    half.what = "targets take no writes, and no failover says so";
    half.next = "causeway target cancel " + machine + " DISK for each makes it a target again";
    const std::string point = to_string(half.targets.front().point);
    if (opened.catalog->find_point(point)) {  // Every target is, or can become it.
        half.next = "causeway failover " + machine + " --point " + point +
                    ", which brings the machine back there; or " + half.next;
    }
    return half;
}

Result<bool> is_master_target(Cli& cli) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    return is_master_target(settings);
}

Result<void> check_has_vault(Cli& cli, const std::string& instead) {
    CW_TRY_ASSIGN(const bool master_target, is_master_target(cli));
    return master_target
               ? fail(Errc::usage, "this is a master target, which has no vault: " + instead)
               : Result<void>{};
}

}  // namespace cw::appliance
