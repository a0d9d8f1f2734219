#include "appliance/cli/written_disks.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

nlohmann::json disk_json(const WrittenDisk& written) {
    const recovery::RestoreReport& report = written.report;
    nlohmann::json out{{"disk", to_string(report.disk.disk)},
                       {"name", report.disk.name},
                       {"sequence", raw(report.disk.cut)},
                       {"output", written.output},
                       {"image_bytes", report.written.image_bytes},
                       {"written_bytes", report.written.written_bytes},
                       {"fetched_bytes", report.fetched_bytes}};
    if (report.written.sha256) {
        out["sha256"] = to_hex(*report.written.sha256);
    }
    return out;
}

void print_disk(const WrittenDisk& written) {
    const recovery::RestoreReport& report = written.report;
    const std::string fetched =
        report.fetched_bytes == 0 ? std::string()
                                  : ", " + config::format_bytes(report.fetched_bytes) + " fetched";
    std::printf("%s: %s as of %s, write %llu of disk %s; %s written%s\n", written.output.c_str(),
                config::format_bytes(report.written.image_bytes).c_str(),
                recovery::time_text(report.point.source_time).c_str(),
                static_cast<unsigned long long>(raw(report.disk.cut)),
                to_string(report.disk.disk).c_str(),
                config::format_bytes(report.written.written_bytes).c_str(), fetched.c_str());
    if (report.written.sha256) {
        std::printf("sha256 %s\n", to_hex(*report.written.sha256).c_str());
    }
}

}  // namespace

std::string fetched_text(std::uint64_t chunk_bytes, std::uint64_t index_bytes) {
    return chunk_bytes + index_bytes == 0
               ? std::string()
               : ", " + config::format_bytes(chunk_bytes) + " of chunks and " +
                     config::format_bytes(index_bytes) + " of indexes fetched";
}

void print_written(const Cli& cli, const std::vector<WrittenDisk>& disks, const std::string& format,
                   const std::string& machine, const MachineRecord* record) {
    const recovery::RestoreReport& first = disks.front().report;
    if (!cli.json) {
        std::ranges::for_each(disks, print_disk);
        if (record != nullptr) {
            std::printf("the machine is %s: choose another point, or `causeway commit %s`\n",
                        std::string(name_of(record->state)).c_str(), machine.c_str());
        }
        return;
    }
    nlohmann::json out{{"disks", nlohmann::json::array()}};
    for (const WrittenDisk& written : disks) {
        out["disks"].push_back(disk_json(written));
    }
    if (disks.size() == 1) {
        out.update(disk_json(disks.front()));
    }
    out.update({{"point", to_string(first.point.id)},
                {"point_time", recovery::time_text(first.point.source_time)},
                {"format", format},
                {"manifest", first.manifest_number}});
    if (record != nullptr) {
        out["state"] = name_of(record->state);
        out["job"] = to_string(record->jobs.back().id);
    }
    print_json(out);
}

}  // namespace cw::appliance
