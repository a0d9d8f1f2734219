#include "appliance/operator/file_system_check.h"

#include "appliance/operator/disk_parts.h"
#include "appliance/operator/subprocess.h"
#include "base/ids.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <sstream>

namespace cw::appliance {
namespace {

constexpr std::int64_t check_ns = 4 * 3600 * ns_per_s;

// What a checker found. Its failure is an error: drill_failed.
struct Verdict {
    std::string tool, result;
    Looked looked = Looked::checked;
};

Verdict not_checked(std::string why) {
    return {{}, "not checked: " + std::move(why), Looked::not_checked};
}

std::unexpected<Error> needs_a_person(const std::string& tool, const std::string& said) {
    return fail(Errc::drill_failed, tool + " says: " + last_words(said));
}

// A number of a superblock; nullopt: the file ends before it.
std::optional<std::uint64_t> number_at(const std::string& file, std::uint64_t at, bool big_endian) {
    std::array<unsigned char, 8> bytes{};
    std::ifstream in(file, std::ios::binary);
    if (!in.seekg(static_cast<std::streamoff>(at)) ||
        !in.read(reinterpret_cast<char*>(bytes.data()), bytes.size())) {
        return std::nullopt;
    }
    if (!big_endian) {
        std::ranges::reverse(bytes);
    }
    std::uint64_t number = 0;
    for (const unsigned char byte : bytes) {
        number = number << 8 | byte;
    }
    return number;
}

// As at boot: replay, make safe repairs. Exit codes above 2 say that a person is needed.
Result<Verdict> check_ext(const std::string& file, const Tools& tools) {
    const std::string tool = "e2fsck -f -p";
    CW_TRY_ASSIGN(const auto got, tools.run({"e2fsck", "-f", "-p", file}, check_ns));
    if (got.exit_code > 2) {
        return needs_a_person(tool, got.output);
    }
    return Verdict{tool, got.exit_code == 0 ? "clean" : "repaired as at boot"};
}

// Whether a line of fsck.fat is of what a file system without a journal has whenever it was in use,
// and what every mount lives with: no file is touched by it.
bool harmless_to_fat(const std::string& line) {
    constexpr std::array<std::string_view, 13> harmless{
        "fsck.fat ",
        "There are differences between boot sector and its backup",
        "This is mostly harmless",
        "  Not automatically fixing this",
        "Dirty bit is set",
        " Automatically removing dirty bit",
        "Free cluster summary ",
        "  Auto-correcting",
        "  Auto-setting",
        "FATs differ but appear to be intact",
        "  Using first FAT",
        "Reclaim",  // "Reclaimed 3 unused clusters", "Reclaiming unconnected clusters"
        "Leaving filesystem unchanged"};
    const bool difference = line.size() > 2 && line.starts_with("  ") &&
                            line.find_first_not_of("0123456789abcdef:/, ") == std::string::npos;
    const bool count = line.find(" files, ") != std::string::npos && line.ends_with(" clusters");
    return line.empty() || difference || count ||
           std::ranges::any_of(harmless, [&](auto known) { return line.starts_with(known); });
}

Result<Verdict> check_fat(const std::string& file, const Tools& tools) {
    const std::string tool = "fsck.fat -n";
    CW_TRY_ASSIGN(const auto got, tools.run({"fsck.fat", "-n", file}, check_ns));
    if (got.exit_code == 0) {
        return Verdict{tool, "clean"};
    }
    std::istringstream lines(got.output);
    for (std::string line; std::getline(lines, line);) {
        if (!harmless_to_fat(line)) {
            return needs_a_person(tool, line + "\n" + last_words(got.output, 200));
        }
    }
    return Verdict{tool, "clean but for what a use without an unmount leaves"};
}

Result<Verdict> check_btrfs(const std::string& file, const Tools& tools) {
    constexpr std::uint64_t devices_at = 64 * kib + 0x88;
    if (number_at(file, devices_at, false) != 1) {
        return not_checked("it is of several devices; boot it with --boot");
    }
    const std::string tool = "btrfs check --readonly";
    CW_TRY_ASSIGN(const auto got, tools.run({"btrfs", "check", "--readonly", file}, check_ns));
    return got.exit_code == 0 ? Result<Verdict>(Verdict{tool, "clean"})
                              : needs_a_person(tool, got.output);
}

// Of a machine that ran, the log of an XFS is to be replayed first, and only a kernel can do that:
// one of guestfish's own, in a virtual machine, not this machine's. nullopt: it was done.
Result<std::optional<Verdict>> replay_xfs(const std::string& file, const Tools& tools) {
    const std::string starts = "causeway: it runs";
    const auto got = tools.run({"guestfish", "--rw", "--format=raw", "-a", file, "run", ":", "echo",
                                starts, ":", "mount", "/dev/sda", "/", ":", "umount-all"},
                               check_ns);
    if (!got && got.error().code == Errc::not_found) {
        return not_checked("its log is to be replayed first: " + got.error().detail +
                           ", or boot it with --boot");
    }
    CW_TRY(got);
    if (got->exit_code == 0) {
        return std::nullopt;
    }
    if (got->output.find(starts) == std::string::npos) {  // That says nothing of the point.
        return not_checked("its log is to be replayed first, and guestfish does not start: " +
                           last_words(got->output));
    }
    return needs_a_person("a mount", got->output);
}

Result<Verdict> check_xfs(const std::string& file, const Tools& tools) {
    constexpr std::uint64_t realtime_at = 16, log_at = 48;
    if (number_at(file, realtime_at, true) != 0 || number_at(file, log_at, true) == 0) {
        return not_checked("it has a part on another device; boot it with --boot");
    }
    const std::string tool = "xfs_repair -n", dirty = "valuable metadata changes in a log";
    const std::vector<std::string> argv{"xfs_repair", "-n", "-f", file};
    CW_TRY_ASSIGN(auto got, tools.run(argv, check_ns, dirty));
    const bool replayed = got.told;
    if (replayed) {
        CW_TRY_ASSIGN(const auto prevented, replay_xfs(file, tools));
        if (prevented) {
            return *prevented;
        }
        CW_TRY_ASSIGN(got, tools.run(argv, check_ns));
    }
    if (got.exit_code != 0) {
        return needs_a_person(tool, got.output);
    }
    return replayed ? Verdict{"guestfish mount, " + tool, "clean after its log was replayed"}
                    : Verdict{tool, "clean"};
}

using Checker = Result<Verdict> (*)(const std::string& file, const Tools& tools);
Checker checker_of(const std::string& kind) {
    return kind == "ext2" || kind == "ext3" || kind == "ext4" ? check_ext
           : kind == "vfat"                                   ? check_fat
           : kind == "xfs"                                    ? check_xfs
           : kind == "btrfs"                                  ? check_btrfs
                                                              : nullptr;
}

Result<Verdict> check_part(const Part& part, Checker checker, const Tools& tools) {
    if (part.offset == 0) {
        return checker(part.image, tools);
    }
    CW_TRY_ASSIGN(const PartCopy copy, PartCopy::make(part, tools));
    return checker(copy.path(), tools);
}

// Of what no checker is for.
Result<Verdict> judge(const Part& part, const std::string& kind, const Tools& tools) {
    constexpr Looked nothing = Looked::nothing;
    if (kind == "swap" || kind == "swsuspend") {
        return Verdict{{}, "nothing to check", nothing};
    }
    if (kind == "crypto_LUKS" || kind == "BitLocker") {
        return not_checked("it is encrypted; boot it with --boot");
    }
    if (!kind.empty()) {
        return not_checked("no checker is known; boot it with --boot");
    }
    if (const std::string purpose = purpose_of(part); !purpose.empty()) {
        return Verdict{{}, purpose + ": nothing to check", nothing};
    }
    CW_TRY_ASSIGN(const bool empty, only_zeros(part, tools));
    if (!empty) {
        return not_checked("no file system known here");
    }
    // A disk may be blank; who made a partition wanted something in it.
    return part.type.empty() ? Verdict{{}, "nothing but zeros: nothing to check", nothing}
                             : not_checked("nothing but zeros where something should be");
}

Result<FileSystemFinding> look_at(const Part& part, const Tools& tools) {
    FileSystemFinding finding;
    finding.where = part.where;
    CW_TRY_ASSIGN(finding.kind, kind_of(part, tools));
    const Checker checker = checker_of(finding.kind);
    auto verdict = checker ? check_part(part, checker, tools) : judge(part, finding.kind, tools);
    // A checker that is not installed proves nothing, and says nothing against the point.
    if (!verdict && verdict.error().code == Errc::not_found) {
        verdict = not_checked(verdict.error().detail);
    }
    if (!verdict) {
        const std::string where =
            part.where + ": " + finding.kind + (finding.kind.empty() ? "" : ": ");
        return fail(verdict.error().code, where + verdict.error().detail);
    }
    finding.tool = verdict->tool;
    finding.result = verdict->result;
    finding.looked = verdict->looked;
    return finding;
}

}  // namespace

std::string_view name_of(Looked looked) noexcept {
    switch (looked) {
        case Looked::checked:
            return "yes";
        case Looked::nothing:
            return "nothing to check";
        case Looked::not_checked:
            return "no";
    }
    return "no";
}

Result<std::vector<FileSystemFinding>> check_file_systems(const std::string& image, Clock& clock,
                                                          const std::function<bool()>& cancelled) {
    const Tools tools(clock, cancelled);
    CW_TRY_ASSIGN(const std::vector<Part> parts, parts_of(image, tools));
    std::vector<FileSystemFinding> findings;
    for (const Part& part : parts) {
        CW_TRY_ASSIGN(auto finding, look_at(part, tools));
        findings.push_back(std::move(finding));
    }
    return findings;
}

}  // namespace cw::appliance
