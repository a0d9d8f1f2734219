#include "appliance/cli/failback_report.h"

#include "appliance/cli/failback_hint.h"
#include "appliance/cli/written_disks.h"
#include "appliance/operator/record_json.h"
#include "base/log.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

json target_json(const ReturnedTarget& returned) {
    const recovery::FailbackReport& report = returned.report;
    return {{"target", returned.target},
            {"disk", to_string(report.disk)},
            {"name", returned.name},
            {"sequence", raw(report.cut)},
            {"resumed", report.resumed},
            {"disk_bytes", report.disk_bytes},
            {"blocks_compared", report.blocks_compared},
            {"blocks_unknown", report.blocks_unknown},
            {"blocks_different", report.blocks_different},
            {"blocks_skipped", report.blocks_skipped},
            {"blocks_sampled", report.blocks_sampled},
            {"hint", returned.hint},
            {"hint_refuted", report.hint_refuted},
            {"moved_bytes", report.moved_bytes},
            {"fetched_bytes", report.fetched_bytes},
            {"index_bytes", report.index_bytes}};
}

void print_target(const ReturnedTarget& returned) {
    const recovery::FailbackReport& report = returned.report;
    std::printf("%s: %s as of %s, write %llu of disk %s\n", returned.target.c_str(),
                config::format_bytes(report.disk_bytes).c_str(),
                recovery::time_text(report.point_time).c_str(),
                static_cast<unsigned long long>(raw(report.cut)), to_string(report.disk).c_str());
    if (report.resumed) {
        std::puts("an interrupted switch was completed");
        return;
    }
    std::printf(
        "%llu blocks of 64 KiB compared by fingerprint, %llu had none; %llu differed: %s moved%s\n",
        static_cast<unsigned long long>(report.blocks_compared),
        static_cast<unsigned long long>(report.blocks_unknown),
        static_cast<unsigned long long>(report.blocks_different),
        config::format_bytes(report.moved_bytes).c_str(),
        fetched_text(report.fetched_bytes, report.index_bytes).c_str());
    if (!returned.hint.empty() && returned.hint != hint_used) {
        std::printf("the hint was %s; everything was compared\n", returned.hint.c_str());
    } else if (report.hint_refuted) {
        std::puts("the hint was wrong: a block that it left out differed; everything was compared");
    } else if (report.blocks_skipped > 0) {
        std::printf("%llu blocks left out by the hint, %llu of the others compared as a sample\n",
                    static_cast<unsigned long long>(report.blocks_skipped),
                    static_cast<unsigned long long>(report.blocks_sampled));
    }
}

std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& word : words) {
        out += (out.empty() ? "" : ", ") + escape_for_display(word);
    }
    return out;
}

}  // namespace

void print_failback(const Cli& cli, const std::vector<ReturnedTarget>& targets,
                    const MachineId& machine, const MachineRecord& record) {
    const recovery::FailbackReport& first = targets.front().report;
    const std::string id = to_string(machine);
    if (!cli.json) {
        std::ranges::for_each(targets, print_target);
        if (record.state == MachineState::failed_back) {
            std::printf("the machine is failed-back: start it, then `causeway commit %s`\n",
                        id.c_str());
        } else if (record.returned.half()) {
            std::printf("the machine is failing-back: %s\n", half_text(record.returned).c_str());
            for (const ReturnedDisk& disk : record.returned.missing()) {
                std::printf("  causeway failback %s --disk %s --target PATH\n", id.c_str(),
                            to_string(disk.disk).c_str());
            }
        }
        return;
    }
    json out = record_json(machine, record, cli.seams.clock->wall());
    out.erase("jobs");
    out["job"] = to_string(record.jobs.back().id);
    out["disks"] = json::array();
    for (const ReturnedTarget& target : targets) {
        out["disks"].push_back(target_json(target));
    }
    if (targets.size() == 1) {
        out.update(target_json(targets.front()));
    }
    out["point"] = to_string(first.point);
    out["point_time"] = recovery::time_text(first.point_time);
    print_json(out);
}

void print_given_up(const Cli& cli, const GivenUp& given_up) {
    const bool half = given_up.returned.half();
    const auto touched = [&] {
        std::vector<ReturnedDisk> out;
        std::ranges::copy_if(given_up.returned.disks, std::back_inserter(out),
                             [](const auto& disk) { return disk.phase != DiskReturn::missing; });
        return out;
    }();
    if (cli.json) {
        json out{{"cancelled", half || !given_up.dropped.empty()},
                 {"dropped", given_up.dropped},
                 {"state", name_of(given_up.state)},
                 {"switched", json::array()}};
        for (const ReturnedDisk& disk : half ? touched : std::vector<ReturnedDisk>{}) {
            out["point"] = to_string(given_up.returned.point);
            out["switched"].push_back({{"disk", to_string(disk.disk)},
                                       {"name", disk.name},
                                       {"state", name_of(disk.phase)}});
        }
        print_json(out);
        return;
    }
    if (!given_up.dropped.empty()) {
        std::printf("cancelled: as it was is %s\n", joined(given_up.dropped).c_str());
    }
    if (half) {
        std::printf("given up: the machine is %s again; point %s already is %s\n",
                    std::string(name_of(given_up.state)).c_str(),
                    to_string(given_up.returned.point).c_str(), list_of(touched).c_str());
    } else if (given_up.dropped.empty()) {
        std::puts("nothing to cancel");
    }
}

}  // namespace cw::appliance
