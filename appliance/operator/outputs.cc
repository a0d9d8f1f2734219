#include "appliance/operator/outputs.h"

#include "base/log.h"

#include <algorithm>
#include <set>

namespace cw::appliance {
namespace {

using recovery::DiskAtPoint;

std::string shown(const DiskAtPoint& disk) {
    const std::string id = to_string(disk.disk);
    return disk.name.empty() ? id : escape_for_display(disk.name) + " (" + id + ")";
}

std::string list_of(const std::vector<DiskAtPoint>& disks) {
    std::string out;
    for (const DiskAtPoint& disk : disks) {
        out += (out.empty() ? "" : ", ") + shown(disk);
    }
    return out;
}

bool is(const DiskAtPoint& disk, std::string_view which) {
    return to_string(disk.disk) == which || (!disk.name.empty() && disk.name == which);
}

// A name comes from the machine: it becomes a file's name only if it can be nothing else.
bool safe_file_name(std::string_view name) {
    return !name.empty() && name.size() <= 200 && name.front() != '.' && name.front() != '-' &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-' || c == '_';
           });
}

bool name_is_unique(const std::vector<DiskAtPoint>& disks, const DiskAtPoint& disk) {
    return std::ranges::count(disks, disk.name, &DiskAtPoint::name) == 1;
}

// The disk that "DISK=PATH" begins with; end() if none does. A path may hold any character, a name
// too: the word before "=" is compared with what is known instead of being cut out.
std::vector<DiskAtPoint>::const_iterator named_in(const std::vector<DiskAtPoint>& disks,
                                                  std::string_view output) {
    return std::ranges::find_if(disks, [&](const DiskAtPoint& disk) {
        const std::string id = to_string(disk.disk);
        return output.starts_with(id + "=") || (!disk.name.empty() && name_is_unique(disks, disk) &&
                                                output.starts_with(disk.name + "="));
    });
}

std::string_view path_in(const DiskAtPoint& disk, std::string_view output) {
    const std::string id = to_string(disk.disk);
    return output.substr((output.starts_with(id + "=") ? id.size() : disk.name.size()) + 1);
}

Result<std::vector<DiskOutput>> into_directory(const std::vector<DiskAtPoint>& disks,
                                               const OutputRequest& request) {
    std::vector<DiskOutput> out;
    for (const DiskAtPoint& disk : disks) {
        const bool by_name = safe_file_name(disk.name) && name_is_unique(disks, disk);
        out.push_back({disk, request.directory + "/" +
                                 (by_name ? disk.name : to_string(disk.disk)) + "." +
                                 request.extension});
    }
    return out;
}

// Errors: usage.
Result<void> check_paths_differ(const std::vector<DiskOutput>& outputs) {
    std::set<std::string_view> paths;
    for (const DiskOutput& output : outputs) {
        if (!paths.insert(output.path).second) {
            return fail(Errc::usage, "two disks would be written to " + output.path);
        }
    }
    return {};
}

}  // namespace

Result<std::vector<DiskOutput>> assign_to_disks(const std::vector<DiskAtPoint>& disks,
                                                const std::vector<std::string>& words,
                                                std::string_view option) {
    std::vector<DiskOutput> out;
    out.reserve(disks.size());
    for (const DiskAtPoint& disk : disks) {
        out.push_back({disk, ""});
    }
    for (const std::string& word : words) {
        const auto named = named_in(disks, word);
        if (named == disks.end() && disks.size() != 1) {
            return fail(Errc::usage, std::string(option) + " " + escape_for_display(word) +
                                         " begins with no disk of the point and \"=\": it has " +
                                         list_of(disks));
        }
        const auto at = named == disks.end() ? 0 : named - disks.begin();
        if (!out[at].path.empty()) {
            return fail(Errc::usage,
                        "more than one " + std::string(option) + " for disk " + shown(disks[at]));
        }
        out[at].path = named == disks.end() ? word : std::string(path_in(*named, word));
        if (out[at].path.empty()) {
            return fail(Errc::usage,
                        std::string(option) + " says nothing of disk " + shown(disks[at]));
        }
    }
    return out;
}

Result<std::vector<DiskOutput>> place_outputs(const std::vector<DiskAtPoint>& disks,
                                              const OutputRequest& request) {
    if (request.outputs.empty() == request.directory.empty()) {
        return fail(Errc::usage, "give --output, or --output-dir, and not both");
    }
    if (!request.disk.empty()) {
        if (disks.size() > 1) {
            return fail(Errc::usage,
                        "a failover brings back every disk of the machine as of one moment, "
                        "here " +
                            list_of(disks) +
                            ": give --output-dir, or an --output DISK=PATH for each, instead of "
                            "--disk; one disk alone: causeway export");
        }
        if (disks.empty() || !is(disks.front(), request.disk)) {
            return fail(Errc::not_found,
                        "the point has no disk '" + escape_for_display(request.disk) + "'");
        }
    }
    CW_TRY_ASSIGN(auto out, request.directory.empty()
                                ? assign_to_disks(disks, request.outputs, "--output")
                                : into_directory(disks, request));
    for (const DiskOutput& output : out) {
        if (output.path.empty()) {
            return fail(Errc::usage, "no --output for disk " + shown(output.disk) +
                                         ": a failover brings back every disk of the machine, "
                                         "here " +
                                         list_of(disks) + "; one disk alone: causeway export");
        }
    }
    CW_TRY(check_paths_differ(out));
    return out;
}

Result<std::vector<DiskOutput>> place_outputs(const recovery::Catalog& catalog,
                                              const vault::PointEntry& point,
                                              const OutputRequest& request) {
    return place_outputs(disks_of(catalog, point), request);
}

Result<std::vector<DiskOutput>> place_targets(const std::vector<DiskAtPoint>& disks,
                                              const TargetRequest& request) {
    if (!request.disk.empty()) {
        std::vector<DiskAtPoint> wanted;
        std::ranges::copy_if(disks, std::back_inserter(wanted),
                             [&](const DiskAtPoint& disk) { return is(disk, request.disk); });
        if (wanted.size() != 1) {
            return fail(wanted.empty() ? Errc::not_found : Errc::usage,
                        "the point has " + std::string(wanted.empty() ? "no" : "more than one") +
                            " disk '" + escape_for_display(request.disk) + "': it has " +
                            list_of(disks));
        }
        if (request.targets.size() != 1) {
            return fail(Errc::usage, "--disk is one disk alone: it has one --target");
        }
        return assign_to_disks(wanted, request.targets, "--target");
    }
    CW_TRY_ASSIGN(auto out, assign_to_disks(disks, request.targets, "--target"));
    std::erase_if(out, [&](const DiskOutput& output) {
        return output.path.empty() &&
               std::ranges::find(request.back, output.disk.disk) != request.back.end();
    });
    for (const DiskOutput& output : out) {
        if (output.path.empty()) {
            return fail(Errc::usage,
                        "no --target for disk " + shown(output.disk) +
                            ": a failback brings back every disk of the machine as of one moment, "
                            "here " +
                            list_of(disks) +
                            ": --target DISK=PATH for each; one at a time: --disk DISK --target "
                            "PATH");
        }
    }
    if (out.empty()) {
        return fail(Errc::usage, "--target is required");
    }
    CW_TRY(check_paths_differ(out));
    return out;
}

std::vector<std::string> paths_of(const std::vector<DiskOutput>& outputs) {
    std::vector<std::string> paths;
    std::ranges::transform(outputs, std::back_inserter(paths), &DiskOutput::path);
    return paths;
}

std::vector<DiskAtPoint> disks_of(const recovery::Catalog& catalog,
                                  const vault::PointEntry& point) {
    std::vector<DiskAtPoint> disks;
    disks.reserve(point.cuts.size());
    for (const vault::PointEntry::Cut& cut : point.cuts) {
        disks.push_back(catalog.disk_at(cut));
    }
    return disks;
}

}  // namespace cw::appliance
