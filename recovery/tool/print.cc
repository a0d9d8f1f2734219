#include "base/log.h"
#include "recovery/tool/tool.h"

#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::recovery::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t told_max = 4096;  // Of a text that tells of names.

void put_json(const Json& value) {
    // Names are people's words and may be anything: what is not UTF-8 is replaced, and only ASCII
    // is written, since JSON, too, is read in terminals.
    std::puts(value.dump(2, ' ', true, Json::error_handler_t::replace).c_str());
}

Json error_json(const Error& error) {
    return {{"code", name_of(error.code)}, {"detail", error.detail}};
}

Json findings_json(const std::vector<Finding>& findings) {
    Json out = Json::array();
    for (const Finding& finding : findings) {
        out.push_back({{"object", finding.object}, {"error", error_json(finding.error)}});
    }
    return out;
}

Json cut_json(const vault::PointEntry::Cut& cut) {
    return {{"disk", to_string(cut.disk)},
            {"generation", raw(cut.generation)},
            {"sequence", raw(cut.cut)},
            {"stream_hash", to_hex(cut.stream_hash)}};
}

Json point_json(const vault::PointEntry& point) {
    Json cuts = Json::array();
    for (const auto& cut : point.cuts) {
        cuts.push_back(cut_json(cut));
    }
    Json out{{"id", to_string(point.id)},
             {"time", time_text(point.source_time)},
             {"valid_until", time_text(point.valid_until)},
             {"kind", name_of(point.kind)},
             {"tag", point.tag},
             {"manifest", point.manifest},
             {"cuts", cuts}};
    if (!point.group.is_nil()) {
        out["group"] = to_string(point.group);
    }
    return out;
}

void print_findings(const char* what, const std::vector<Finding>& findings) {
    for (const Finding& finding : findings) {
        std::printf("  %s %s: %s\n", what, escape_for_display(finding.object, told_max).c_str(),
                    escape_for_display(to_string(finding.error), told_max).c_str());
    }
}

}  // namespace

void print_machines(const std::vector<MachineSummary>& machines, bool json) {
    Json out = Json::array();
    for (const MachineSummary& machine : machines) {
        if (json) {
            Json one{{"machine", to_string(machine.machine)}, {"name", machine.name}};
            one["points"] = machine.points;
            one["newest"] = machine.newest;
            if (!machine.error.empty()) {
                one["error"] = machine.error;
            }
            out.push_back(std::move(one));
        } else if (!machine.error.empty()) {
            std::printf("%s  %s\n", to_string(machine.machine).c_str(),
                        escape_for_display(machine.error, told_max).c_str());
        } else {
            std::printf("%s  %6zu points  newest %-27s  %s\n", to_string(machine.machine).c_str(),
                        machine.points, machine.newest.empty() ? "-" : machine.newest.c_str(),
                        escape_for_display(machine.name).c_str());
        }
    }
    if (json) {
        put_json({{"machines", out}});
    }
}

void print_catalog(const Catalog& catalog, bool json) {
    const vault::Manifest& newest = catalog.state().newest;
    const auto points = catalog.points();
    if (json) {
        Json disks = Json::array(), list = Json::array();
        for (const auto& disk : newest.disks) {
            disks.push_back({{"disk", to_string(disk.disk)},
                             {"name", disk.name},
                             {"size_bytes", disk.size_bytes},
                             {"generation", raw(disk.generation)},
                             {"committed", raw(disk.committed)},
                             {"protected", disk.protected_}});
        }
        for (const auto* point : points) {
            list.push_back(point_json(*point));
        }
        put_json({{"machine", to_string(catalog.machine())},
                  {"name", newest.machine_name},
                  {"manifest", newest.number},
                  {"manifest_hash", to_hex(catalog.state().hash)},
                  {"epoch", raw(newest.epoch)},
                  {"segments", catalog.state().segments.size()},
                  {"disks", disks},
                  {"points", list}});
        return;
    }
    std::printf("machine %s %s, manifest %llu, epoch %llu\n", to_string(catalog.machine()).c_str(),
                escape_for_display(newest.machine_name).c_str(),
                static_cast<unsigned long long>(newest.number),
                static_cast<unsigned long long>(raw(newest.epoch)));
    for (const auto& disk : newest.disks) {
        std::printf("  disk %s  %10s  %s%s\n", to_string(disk.disk).c_str(),
                    size_text(disk.size_bytes).c_str(), escape_for_display(disk.name).c_str(),
                    disk.protected_ ? "" : "  (in no point that is made now)");
    }
    for (const auto* point : points) {
        std::printf("  point %s  %-27s  %-10s  %s\n", to_string(point->id).c_str(),
                    time_text(point->source_time).c_str(),
                    std::string(name_of(point->kind)).c_str(),
                    escape_for_display(point->tag).c_str());
    }
}

void print_verify(const std::vector<std::pair<MachineId, VerifyReport>>& reports, bool json) {
    Json all = Json::array();
    for (const auto& [machine, report] : reports) {
        Json points = Json::array();
        std::size_t intact = 0;
        for (const PointVerdict& point : report.points) {
            intact += point.verdict == Verdict::intact ? 1 : 0;
            Json one = point_json(point.point);
            one["verdict"] = name_of(point.verdict);
            one["findings"] = findings_json(point.findings);
            points.push_back(std::move(one));
        }
        if (json) {
            all.push_back({{"machine", to_string(machine)},
                           {"verdict", name_of(report.verdict())},
                           {"depth", name_of(report.depth)},
                           {"manifest", report.manifest_number},
                           {"manifest_hash", to_hex(report.manifest_hash)},
                           {"manifests_checked", report.manifests_checked},
                           {"oldest_manifest", report.oldest_manifest},
                           {"segments_checked", report.segments_checked},
                           {"chunks_checked", report.chunks_checked},
                           {"bytes_fetched", report.bytes_fetched},
                           {"chain_findings", findings_json(report.chain_findings)},
                           {"segment_findings", findings_json(report.segment_findings)},
                           {"points", points}});
            continue;
        }
        std::printf(
            "machine %s: %s; %llu manifests (%llu to %llu), %llu segments, %llu chunks, "
            "%zu of %zu points intact%s\n",
            to_string(machine).c_str(), std::string(name_of(report.verdict())).c_str(),
            static_cast<unsigned long long>(report.manifests_checked),
            static_cast<unsigned long long>(report.oldest_manifest),
            static_cast<unsigned long long>(report.manifest_number),
            static_cast<unsigned long long>(report.segments_checked),
            static_cast<unsigned long long>(report.chunks_checked), intact, report.points.size(),
            report.depth == VerifyDepth::full ? "" : "; --level full opens every byte of them");
        print_findings("chain", report.chain_findings);
        print_findings("segment", report.segment_findings);
        for (const PointVerdict& point : report.points) {
            std::printf("  point %s  %s  %s\n", to_string(point.point.id).c_str(),
                        time_text(point.point.source_time).c_str(),
                        std::string(name_of(point.verdict)).c_str());
            for (const auto& cut : point.point.cuts) {
                std::printf("    last write of disk %s: sequence %llu of generation %llu\n",
                            to_string(cut.disk).c_str(),
                            static_cast<unsigned long long>(raw(cut.cut)),
                            static_cast<unsigned long long>(raw(cut.generation)));
            }
        }
    }
    if (json) {
        put_json({{"machines", all}});
    }
}

void print_restore(const RestoreReport& report, const std::string& path, bool json) {
    if (json) {
        Json out{{"output", path},
                 {"disk", to_string(report.disk.disk)},
                 {"disk_name", report.disk.name},
                 {"sequence", raw(report.disk.cut)},
                 {"point", point_json(report.point)},
                 {"image_bytes", report.written.image_bytes},
                 {"file_bytes", report.written.file_bytes},
                 {"written_bytes", report.written.written_bytes},
                 {"fetched_bytes", report.fetched_bytes},
                 {"requests", report.requests},
                 {"manifest", report.manifest_number},
                 {"manifest_hash", to_hex(report.manifest_hash)}};
        if (report.written.sha256) {
            out["sha256"] = to_hex(*report.written.sha256);
        }
        put_json(out);
        return;
    }
    std::printf("%s: disk %s of point %s (%s, %s), last write %llu\n", path.c_str(),
                to_string(report.disk.disk).c_str(), to_string(report.point.id).c_str(),
                time_text(report.point.source_time).c_str(),
                std::string(name_of(report.point.kind)).c_str(),
                static_cast<unsigned long long>(raw(report.disk.cut)));
    std::printf(
        "  %s image, %s written, %s fetched\n", size_text(report.written.image_bytes).c_str(),
        size_text(report.written.written_bytes).c_str(), size_text(report.fetched_bytes).c_str());
    if (report.written.sha256) {
        std::printf("  sha256 %s, read back and equal\n", to_hex(*report.written.sha256).c_str());
    }
}

}  // namespace cw::recovery::tool
