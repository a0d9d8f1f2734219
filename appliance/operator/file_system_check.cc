#include "appliance/operator/file_system_check.h"

#include "appliance/operator/subprocess.h"

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

constexpr std::int64_t probe_ns = 60 * ns_per_s, check_ns = 4 * 3600 * ns_per_s;

struct Part {
    std::string where;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;  // 0: to the end.
};

// Runs the tools of others, until they end, are out of time or are not wanted any more.
class Tools {
public:
    Tools(Clock& clock, std::function<bool()> cancelled)
        : clock_(clock), cancelled_(std::move(cancelled)) {}
    [[nodiscard]] Result<CommandResult> run(const std::vector<std::string>& argv,
                                            std::int64_t timeout_ns) const {
        return run_command(argv, clock_,
                           {.timeout_ns = timeout_ns, .watch = {}, .cancelled = cancelled_});
    }

private:
    Clock& clock_;
    std::function<bool()> cancelled_;
};

std::string tail_of(const std::string& text) {
    constexpr std::size_t shown = 400;
    return text.size() > shown ? text.substr(text.size() - shown) : text;
}

// The partitions; the whole disk if it has no table.
Result<std::vector<Part>> parts_of(const std::string& image, const Tools& tools) {
    CW_TRY_ASSIGN(const CommandResult got, tools.run({"sfdisk", "--json", image}, probe_ns));
    const auto begin = got.output.find('{');
    if (got.exit_code != 0 || begin == std::string::npos) {
        return std::vector<Part>{{"whole disk", 0, 0}};
    }
    const auto table = nlohmann::json::parse(got.output.substr(begin), nullptr, false);
    std::vector<Part> parts;
    if (table.is_object() && table.contains("partitiontable")) {
        const auto& inner = table["partitiontable"];
        const auto sector = inner.value("sectorsize", std::uint64_t{512});
        unsigned number = 0;
        for (const auto& entry : inner.value("partitions", nlohmann::json::array())) {
            parts.push_back({"partition " + std::to_string(++number),
                             entry.value("start", std::uint64_t{0}) * sector,
                             entry.value("size", std::uint64_t{0}) * sector});
        }
    }
    if (parts.empty()) {
        parts.push_back({"whole disk", 0, 0});
    }
    return parts;
}

Result<std::string> kind_of(const std::string& image, const Part& part, const Tools& tools) {
    std::vector<std::string> argv{"blkid", "-p",   "-o",       "value",
                                  "-s",    "TYPE", "--offset", std::to_string(part.offset)};
    if (part.size != 0) {
        argv.insert(argv.end(), {"--size", std::to_string(part.size)});
    }
    argv.push_back(image);
    CW_TRY_ASSIGN(const CommandResult got, tools.run(argv, probe_ns));
    constexpr int nothing_found = 2;
    if (got.exit_code != 0 && got.exit_code != nothing_found) {
        return fail(Errc::drill_failed, "blkid of " + part.where + ": " + tail_of(got.output));
    }
    return got.output.substr(0, got.output.find('\n'));
}

// Whether the journal of an ext3 or ext4 file system is to be replayed first.
bool needs_recovery(const std::string& image, const Part& part) {
    constexpr std::uint64_t incompat_at = 1024 + 0x60;  // In the superblock: a little-endian u32.
    constexpr char recover = 4;
    std::ifstream in(image, std::ios::binary);
    char lowest = 0;
    return in.seekg(static_cast<std::streamoff>(part.offset + incompat_at)).get(lowest) &&
           (lowest & recover) != 0;
}

// A copy of one partition, gone with the object.
class PartitionCopy {
public:
    PartitionCopy(const std::string& image, const Part& part)
        : path_(image + "." + std::to_string(part.offset)) {}
    ~PartitionCopy() {
        std::error_code gone_before;
        std::filesystem::remove(path_, gone_before);
    }
    PartitionCopy(const PartitionCopy&) = delete;
    PartitionCopy& operator=(const PartitionCopy&) = delete;

    Result<void> make(const std::string& image, const Part& part, const Tools& tools) {
        CW_TRY_ASSIGN(
            const CommandResult got,
            tools.run({"dd", "if=" + image, "of=" + path_, "bs=1M", "conv=sparse",
                       "iflag=skip_bytes,count_bytes", "skip=" + std::to_string(part.offset),
                       "count=" + std::to_string(part.size), "status=none"},
                      check_ns));
        return got.exit_code == 0
                   ? Result<void>{}
                   : fail(Errc::io_error, "copy of " + part.where + ": " + tail_of(got.output));
    }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    const std::string path_;
};

// As at boot: replay, make safe repairs. Exit codes above 2 say that a person is needed. e2fsck
// opens a file system again after it replayed its journal, and forgets the offset then: such a one
// is looked at in a file of its own.
Result<std::string> check_ext(const std::string& image, const Part& part, const Tools& tools) {
    std::string where = image + "?offset=" + std::to_string(part.offset);
    PartitionCopy copy(image, part);
    if (part.offset != 0 && needs_recovery(image, part)) {
        CW_TRY(copy.make(image, part, tools));
        where = copy.path();
    }
    CW_TRY_ASSIGN(const CommandResult got, tools.run({"e2fsck", "-f", "-p", where}, check_ns));
    if (got.exit_code > 2) {
        return fail(Errc::drill_failed, "e2fsck of " + part.where + " ended with " +
                                            std::to_string(got.exit_code) + ": " +
                                            tail_of(got.output));
    }
    return got.exit_code == 0 ? "clean" : "repaired as at boot";
}

Result<std::string> check_xfs(const std::string& image, const Tools& tools) {
    CW_TRY_ASSIGN(const CommandResult got, tools.run({"xfs_repair", "-n", "-f", image}, check_ns));
    if (got.exit_code != 0) {
        return fail(Errc::drill_failed, "xfs_repair -n ended with " +
                                            std::to_string(got.exit_code) + ": " +
                                            tail_of(got.output));
    }
    return "clean";
}

}  // namespace

Result<std::vector<FileSystemFinding>> check_file_systems(const std::string& image, Clock& clock,
                                                          const std::function<bool()>& cancelled) {
    const Tools tools(clock, cancelled);
    CW_TRY_ASSIGN(const std::vector<Part> parts, parts_of(image, tools));
    std::vector<FileSystemFinding> findings;
    for (const Part& part : parts) {
        FileSystemFinding finding{.where = part.where, .kind = {}, .result = {}};
        CW_TRY_ASSIGN(finding.kind, kind_of(image, part, tools));
        Result<std::string> result = "recognised, not checked";
        if (finding.kind.starts_with("ext")) {
            result = check_ext(image, part, tools);
        } else if (finding.kind == "xfs" && part.offset == 0) {
            result = check_xfs(image, tools);
        } else if (finding.kind.empty()) {
            result = "empty or unknown";
        }
        // A checker that is not installed proves nothing, and says nothing against the point.
        if (!result && result.error().code == Errc::not_found) {
            result = "recognised, not checked: " + result.error().detail + " is missing";
        }
        CW_TRY(result);
        finding.result = *result;
        finding.checked = result->starts_with("clean") || result->starts_with("repaired");
        findings.push_back(std::move(finding));
    }
    return findings;
}

}  // namespace cw::appliance
