#include "appliance/operator/disk_parts.h"

#include "appliance/operator/subprocess.h"
#include "base/ids.h"
#include "base/net.h"
#include "recovery/full_output.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <fcntl.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr std::int64_t probe_ns = 60 * ns_per_s;
constexpr std::uint64_t step_bytes = 64 * mib;  // Between two questions whether it is wanted.

// Where Debian has what a drill calls.
std::string package_of(const std::string& program) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 7> packages{
        {{"sfdisk", "fdisk"},
         {"blkid", "util-linux"},
         {"e2fsck", "e2fsprogs"},
         {"fsck.fat", "dosfstools"},
         {"xfs_repair", "xfsprogs"},
         {"btrfs", "btrfs-progs"},
         {"guestfish", "guestfish libguestfs-xfs"}}};
    const auto* found =
        std::ranges::find(packages, program, &std::pair<std::string_view, std::string_view>::first);
    return found == packages.end() ? program : std::string(found->second);
}

// The PATH of people often ends before the programs of administrators.
std::string place_of(const std::string& program) {
    const char* path = std::getenv("PATH");
    std::istringstream places(std::string(path == nullptr ? "" : path) + ":/usr/sbin:/sbin");
    for (std::string place; std::getline(places, place, ':');) {
        const std::string file = place + "/" + program;
        if (!place.empty() && ::access(file.c_str(), X_OK) == 0) {
            return file;
        }
    }
    return {};
}

Result<Fd> opened(const std::string& path, int flags) {
    Fd file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    return file.valid() ? Result<Fd>(std::move(file))
                        : Result<Fd>(fail_errno(Errc::io_error, path, errno));
}

struct Run {
    off_t begin = 0, end = 0;
};
// The first data at or after `at`, as the file system knows it; empty: none before `end`.
Run data_from(const Fd& file, off_t at, off_t end) {
    const off_t begin = ::lseek(file.get(), at, SEEK_DATA);
    if (begin < 0) {
        return errno == ENXIO ? Run{end, end} : Run{at, end};
    }
    const off_t hole = ::lseek(file.get(), begin, SEEK_HOLE);
    return {std::min(begin, end), hole < 0 ? end : std::min(hole, end)};
}

Result<void> copy_run(const Fd& from, Run run, const Fd& to, off_t at, const Tools& tools) {
    while (run.begin < run.end) {
        if (tools.cancelled()) {
            return fail(Errc::cancelled, "a copy");
        }
        const auto wanted =
            std::min<std::uint64_t>(static_cast<std::uint64_t>(run.end - run.begin), step_bytes);
        const ssize_t done = ::copy_file_range(from.get(), &run.begin, to.get(), &at, wanted, 0);
        if (done <= 0) {
            const int error = done < 0 ? errno : EIO;
            const bool no_room = error == ENOSPC || error == EDQUOT;
            return fail_errno(no_room ? Errc::disk_full : Errc::io_error, "copy_file_range", error);
        }
    }
    return {};
}

Result<void> copy_part(const Part& part, const std::string& path, const Tools& tools) {
    CW_TRY_ASSIGN(const Fd from, opened(part.image, O_RDONLY));
    CW_TRY_ASSIGN(const Fd to, opened(path, O_WRONLY | O_CREAT | O_EXCL));
    if (::ftruncate(to.get(), static_cast<off_t>(part.size)) != 0) {
        return fail_errno(Errc::io_error, path, errno);
    }
    const auto begin = static_cast<off_t>(part.offset);
    const auto end = begin + static_cast<off_t>(part.size);
    for (off_t at = begin; at < end;) {
        const Run run = data_from(from, at, end);
        CW_TRY(copy_run(from, run, to, run.begin - begin, tools));
        at = run.end;
    }
    return {};
}

}  // namespace

Result<Tools::Answer> Tools::run(std::vector<std::string> argv, std::int64_t timeout_ns,
                                 const std::string& telling) const {
    const std::string place = place_of(argv.front());
    if (place.empty()) {
        return fail(Errc::not_found, argv.front() + " is missing (Debian: apt install " +
                                         package_of(argv.front()) + ")");
    }
    argv.front() = place;
    Answer answer;
    CommandLimits limits{.timeout_ns = timeout_ns, .watch = {}, .cancelled = cancelled_};
    if (!telling.empty()) {
        limits.watch = [&](std::string_view said) {
            answer.told = answer.told || said.find(telling) != std::string_view::npos;
            return !answer.told;
        };
    }
    const auto ran = run_command(argv, clock_, limits);
    if (answer.told) {
        return answer;
    }
    CW_TRY(ran);
    answer.exit_code = ran->exit_code;
    answer.output = ran->output;
    answer.told = !telling.empty() && ran->output.find(telling) != std::string::npos;
    return answer;
}

Result<std::vector<Part>> parts_of(const std::string& image, const Tools& tools) {
    std::error_code error;
    const std::uint64_t bytes = std::filesystem::file_size(image, error);
    if (error) {
        return fail_errno(Errc::io_error, image, error.value());
    }
    std::vector<Part> parts;
    CW_TRY_ASSIGN(const auto got, tools.run({"sfdisk", "--json", image}, probe_ns));
    if (got.exit_code == 0) {
        parts = parse_partition_table(got.output, image, bytes);
    }
    if (parts.empty()) {
        parts.push_back({.where = "whole disk", .image = image, .size = bytes, .type = {}});
    }
    return parts;
}

Result<std::string> kind_of(const Part& part, const Tools& tools) {
    CW_TRY_ASSIGN(const auto got, tools.run({"blkid", "-p", "-o", "value", "-s", "TYPE", "--offset",
                                             std::to_string(part.offset), "--size",
                                             std::to_string(part.size), part.image},
                                            probe_ns));
    constexpr int nothing_found = 2, several_found = 8;
    if (got.exit_code == several_found) {
        return "of several kinds at once";
    }
    if (got.exit_code != 0 && got.exit_code != nothing_found) {
        return fail(Errc::io_error, "blkid of " + part.where + ": " + last_words(got.output));
    }
    return got.output.substr(0, got.output.find('\n'));
}

std::string purpose_of(const Part& part) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 10> purposes{
        {{"21686148-6449-6E6F-744E-656564454649", "a boot loader's code"},  // BIOS boot
         {"9E1A2D38-C612-4316-AA26-8B49521E5A8B", "a boot loader's code"},  // PReP
         {"41", "a boot loader's code"},
         {"0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "for swap"},
         {"82", "for swap"},
         {"E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "reserved by Windows"},
         {"5", "the extended partition"},
         {"f", "the extended partition"},
         {"85", "the extended partition"},
         {"c5", "the extended partition"}}};
    const auto* found = std::ranges::find(purposes, part.type,
                                          &std::pair<std::string_view, std::string_view>::first);
    return found == purposes.end() ? std::string() : std::string(found->second);
}

Result<bool> only_zeros(const Part& part, const Tools& tools) {
    CW_TRY_ASSIGN(const Fd file, opened(part.image, O_RDONLY));
    std::vector<char> buffer(1 * mib);
    const auto end = static_cast<off_t>(part.offset + part.size);
    for (auto at = static_cast<off_t>(part.offset); at < end;) {
        Run run = data_from(file, at, end);
        at = run.end;
        while (run.begin < run.end) {
            if (tools.cancelled()) {
                return fail(Errc::cancelled, part.where);
            }
            const auto wanted =
                std::min(static_cast<std::size_t>(run.end - run.begin), buffer.size());
            const ssize_t got = ::pread(file.get(), buffer.data(), wanted, run.begin);
            if (got <= 0) {
                return fail_errno(Errc::io_error, part.image, got < 0 ? errno : EIO);
            }
            if (!std::all_of(buffer.begin(), buffer.begin() + got, [](char c) { return c == 0; })) {
                return false;
            }
            run.begin += got;
        }
    }
    return true;
}

Result<PartCopy> PartCopy::make(const Part& part, const Tools& tools) {
    PartCopy copy(part.image + "." + std::to_string(part.offset));
    const auto copied = copy_part(part, copy.path_, tools);
    if (!copied) {
        Error error = recovery::name_full_output(copied.error(), copy.path_, copy.path_, part.size);
        error.detail = "copy of " + part.where + ": " + error.detail;
        return std::unexpected(std::move(error));
    }
    return copy;
}

PartCopy::PartCopy(PartCopy&& other) noexcept : path_(std::exchange(other.path_, {})) {}

PartCopy::~PartCopy() {
    std::error_code gone_before;
    if (!path_.empty()) {
        std::filesystem::remove(path_, gone_before);
    }
}

}  // namespace cw::appliance
