// causeway verify against a master target, and failover in place: its daemon is asked to make its
// targets the point.
#include "appliance/cli/second_site.h"

#include "appliance/control_client.h"
#include "appliance/patient_question.h"
#include "appliance/site_records.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "egress/volume/point_check.h"
#include "recovery/catalog.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>
#include <poll.h>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr int poll_ms = 200;
constexpr int orders_max = 10;  // To a daemon that ends each time.
constexpr std::int64_t silence_ns_max = 600 * ns_per_s;

// The machine's, of an answer of the daemon.
Result<json> targets_in(const std::string& text, const std::string& machine) {
    CW_TRY_ASSIGN(const auto id, parse_id<MachineId>(machine));
    const json status = json::parse(text, nullptr, false);
    if (!status.is_object() || !status.contains("targets")) {
        return fail(Errc::not_found, "the daemon of this configuration is no master target");
    }
    json out = json::array();
    for (const json& target : status["targets"]) {
        if (target.value("machine", "") == to_string(id)) {
            out.push_back(target);
        }
    }
    if (out.empty()) {
        return fail(Errc::not_found, "no target for machine " + to_string(id));
    }
    return out;
}

Result<json> targets_of(Cli& cli, const std::string& machine) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    CW_TRY_ASSIGN(const std::string text, ControlClient{socket}.get("status"));
    return targets_in(text, machine);
}

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

bool is_becoming(const json& target, const vault::PointEntry& point) {
    return target.value("phase", "") != "collecting" && target.contains("point") &&
           target["point"].value("id", "") == to_string(point.id);
}

// Errors: target_switching.
Result<void> check_free_for(const json& targets, const vault::PointEntry& point) {
    for (const json& target : targets) {
        if (target.value("phase", "") != "collecting" && !is_becoming(target, point)) {
            return fail(Errc::target_switching, target.value("path", "") + " is " +
                                                    target.value("phase", "") +
                                                    ": it becomes, or is, another point");
        }
    }
    return {};
}

Result<void> order_all(const ControlClient& daemon, const json& targets,
                       const vault::PointEntry& point) {
    for (const json& target : targets) {
        if (is_becoming(target, point)) {
            continue;
        }
        const json order{{"machine", target["machine"]},
                         {"disk", target["disk"]},
                         {"point", to_string(point.id)}};
        CW_TRY(daemon.post("target/switch",
                           order.dump(-1, ' ', false, json::error_handler_t::replace)));
    }
    return {};
}

// All of them or none, as far as can be known before. A daemon that ends while it is ordered may
// have switched some: nobody knows until it runs again, and then the rest is ordered.
Result<void> switch_all(Cli& cli, const std::string& machine, json targets,
                        const vault::PointEntry& point) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    const ControlClient daemon{socket};
    PatientQuestion question(daemon, *cli.seams.clock, silence_ns_max);
    for (int tries = 0;; ++tries) {
        CW_TRY(check_free_for(targets, point));
        const auto ordered = order_all(daemon, targets, point);
        if (ordered) {
            break;
        }
        if (ordered.error().code != Errc::unreachable || tries >= orders_max) {
            return ordered;
        }
        std::fputs("the daemon ended while it was ordered to switch: waiting for it\n", stderr);
        CW_TRY_ASSIGN(auto answer, question.get("status"));
        while (!answer) {
            ::poll(nullptr, 0, poll_ms);
            CW_TRY_ASSIGN(answer, question.get("status"));
        }
        CW_TRY_ASSIGN(targets, targets_in(*answer, machine));
    }
    CW_CRASH_POINT("second_site.ordered");
    return {};
}

// Errors: those that stop a target, and of PatientQuestion.
Result<void> wait_until_done(Cli& cli, const std::string& machine, ShownJob& job) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    PatientQuestion question(ControlClient{socket}, *cli.seams.clock, silence_ns_max);
    while (true) {
        const bool was_silent = question.silent();
        CW_TRY_ASSIGN(const auto answer, question.get("status"));
        if (!answer) {
            if (!was_silent) {
                std::fputs("the daemon does not answer; the switch is decided: waiting for it\n",
                           stderr);
            }
            ::poll(nullptr, 0, poll_ms);
            continue;
        }
        CW_TRY_ASSIGN(const json targets, targets_in(*answer, machine));
        std::uint64_t done_bytes = 0, total_bytes = 0;
        std::size_t done = 0;
        for (const json& target : targets) {
            done += target.value("phase", "") == "done" ? 1U : 0U;
            if (target.contains("trouble") && target.value("phase", "") != "done") {
                return fail(Errc::io_error,
                            target.value("path", "") + ": " + target.value("trouble", ""));
            }
            if (target.contains("work")) {
                done_bytes += target["work"].value("done_bytes", std::uint64_t{0});
                total_bytes += target["work"].value("total_bytes", std::uint64_t{0});
            }
        }
        if (done == targets.size()) {
            return {};
        }
        job.note("switching", done_bytes, total_bytes);
        ::poll(nullptr, 0, poll_ms);
    }
}

Result<json> switch_and_wait(Cli& cli, const std::string& machine, const vault::PointEntry& point,
                             ShownJob& job) {
    CW_TRY_ASSIGN(json targets, targets_of(cli, machine));
    CW_TRY(switch_all(cli, machine, targets, point));
    CW_TRY(wait_until_done(cli, machine, job));
    return targets;
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

Result<void> target_failover(Cli& cli, const OpenedCatalog& opened,
                             const vault::PointEntry& point) {
    const std::string machine = to_string(opened.catalog->machine());
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    CW_TRY_ASSIGN(const auto job, ShownJob::begin(cli, *records,
                                                  {.machine = opened.catalog->machine(),
                                                   .verb = Verb::failover,
                                                   .point = point.id,
                                                   .point_time = point.source_time},
                                                  "switched"));
    CW_TRY_ASSIGN(const json targets, job->outcome(switch_and_wait(cli, machine, point, *job)));
    json paths = json::array();
    std::string detail = "in place";
    for (const json& target : targets) {
        paths.push_back(target["path"]);
        detail += " " + target.value("path", "");
    }
    JobEnd end;
    end.point = point.id;
    end.point_time = point.source_time;
    end.manifest = opened.catalog->state().newest.number;
    end.detail = detail;
    CW_TRY_ASSIGN(const MachineRecord record, job->end(end));
    if (cli.json) {
        print_json({{"machine", machine},
                    {"point", to_string(point.id)},
                    {"point_time", recovery::time_text(point.source_time)},
                    {"targets", paths},
                    {"state", name_of(record.state)},
                    {"job", to_string(record.jobs.back().id)}});
        return {};
    }
    for (const json& path : paths) {
        std::printf("%s: as of %s\n", escape_for_display(path.get<std::string>()).c_str(),
                    recovery::time_text(point.source_time).c_str());
    }
    std::printf(
        "the machine is %s: start it from there, then `causeway commit %s`; or "
        "`causeway undo-failover %s` makes them targets again\n",
        std::string(name_of(record.state)).c_str(), machine.c_str(), machine.c_str());
    return {};
}

}  // namespace cw::appliance
