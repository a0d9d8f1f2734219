#include "agent/scan/lvm_tools.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace cw::agent {
namespace {

constexpr std::size_t printed_bytes_max = 1 * mib, complaint_bytes_max = 512;
constexpr std::size_t fields = 6;
constexpr std::string_view fields_wanted = "vg_name,lv_name,lv_attr,lv_path,pool_lv,lv_tags";
constexpr std::array system_directories = {"/usr/sbin", "/sbin", "/usr/bin", "/bin"};

bool has_tools(const std::string& directory) {
    for (const char* const tool : {"/lvs", "/lvcreate", "/lvremove"}) {
        if (::access((directory + tool).c_str(), X_OK) != 0) {
            return false;
        }
    }
    return true;
}

std::string trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\n");
    if (first == std::string_view::npos) {
        return {};
    }
    return std::string(text.substr(first, text.find_last_not_of(" \t\n") - first + 1));
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    for (;;) {
        const std::size_t end = text.find(separator);
        parts.push_back(trimmed(text.substr(0, end)));
        if (end == std::string_view::npos) {
            return parts;
        }
        text.remove_prefix(end + 1);
    }
}

std::string on_one_line(std::string text) {
    std::ranges::replace_if(
        text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, ' ');
    return text;
}

std::string text_in(const Fd& file, std::size_t max) {
    std::string text(max, '\0');
    const ssize_t n = ::pread(file.get(), text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
}

}  // namespace

// State 'a': no other one of a snapshot can be read from ('I' and 'S': it ran full). Health 'F': a
// thin volume that failed with its pool.
bool LogicalVolume::active() const {
    return attributes.size() >= 9 && attributes[4] == 'a' && attributes[8] != 'F';
}

Result<std::vector<LogicalVolume>> parse_volumes(const std::string& printed) {
    std::vector<LogicalVolume> volumes;
    for (const std::string& line : split(printed, '\n')) {
        if (line.empty()) {
            continue;
        }
        const std::vector<std::string> parts = split(line, '|');
        if (parts.size() != fields || parts[0].empty() || parts[1].empty()) {
            return fail(Errc::snapshot_failed, "lvs says " + escape_for_display(line, 128));
        }
        volumes.push_back({parts[0], parts[1], parts[2], parts[3], parts[4], split(parts[5], ',')});
    }
    return volumes;
}

Result<LvmTools> LvmTools::find(const std::string& directory, Clock& clock, std::int64_t limit_ns) {
    if (!directory.empty()) {
        return has_tools(directory)
                   ? Result<LvmTools>(LvmTools(directory, clock, limit_ns))
                   : fail(Errc::snapshot_failed, "no lvs, lvcreate and lvremove in " + directory);
    }
    for (const char* const place : system_directories) {
        if (has_tools(place)) {
            return LvmTools(place, clock, limit_ns);
        }
    }
    return fail(Errc::snapshot_failed, "lvs, lvcreate and lvremove are not installed (lvm2)");
}

LvmTools::~LvmTools() {
    for (auto* const child : {&child_, &stuck_}) {
        if (*child) {
            (*child)->disown();
        }
    }
}

void LvmTools::list(const std::string& which) {
    std::vector<std::string> command = {"lvs", "--noheadings", "--separator", "|", "-o"};
    command.emplace_back(fields_wanted);
    if (!which.empty()) {
        command.push_back(which);
    }
    run(std::move(command));
}

void LvmTools::create(const LogicalVolume& origin, const Snapshot& snapshot) {
    std::vector<std::string> command = {"lvcreate",   "--yes",        "--snapshot",
                                        "--name",     snapshot.name,  "--addtag",
                                        snapshot.tag, "--permission", "r"};
    if (!origin.pool.empty()) {  // A thin snapshot takes its room from the pool.
        command.emplace_back("--ignoreactivationskip");
    } else if (snapshot.size.ends_with('%')) {
        command.insert(command.end(), {"--extents", snapshot.size + "ORIGIN"});
    } else {
        command.insert(command.end(), {"--size", snapshot.size + "b"});
    }
    command.push_back(origin.full_name());
    run(std::move(command));
}

void LvmTools::remove(const std::string& full_name) {
    run({"lvremove", "--yes", "--force", full_name});
}

void LvmTools::run(std::vector<std::string> command) {
    CW_ASSERT(!child_ && !stuck_);
    tool_ = command.front();
    command.front() = directory_ + "/" + tool_;
    trouble_.reset();
    deadline_ = clock_.boot() + limit_ns_;
    output_ = Fd(::memfd_create("lvm", MFD_CLOEXEC));
    complaints_ = Fd(::memfd_create("lvm", MFD_CLOEXEC));
    if (!output_.valid() || !complaints_.valid()) {
        trouble_ = Error{Errc::snapshot_failed, "no memory for what " + tool_ + " says"};
        return;
    }
    static const std::vector<std::string> environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                                         "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1"};
    auto started = ChildProcess::start(
        command, clock_,
        {.output = output_.get(), .errors = complaints_.get(), .environment = &environment});
    if (started) {
        child_.emplace(std::move(*started));
    } else {
        trouble_ = Error{Errc::snapshot_failed, to_string(started.error())};
    }
}

std::optional<Result<std::string>> LvmTools::poll() {
    if (!child_) {
        CW_ASSERT(trouble_);
        return std::unexpected(*trouble_);
    }
    const auto ended = child_->poll();
    if (!ended && clock_.boot() - deadline_ < 0) {
        return std::nullopt;
    }
    if (!ended) {
        stuck_.emplace(std::move(*child_));
        child_.reset();
        return fail(Errc::snapshot_failed, tool_ + " does not end");
    }
    child_.reset();
    if (!*ended) {
        return fail(Errc::snapshot_failed,
                    ended->error().detail + ": " +
                        on_one_line(trimmed(text_in(complaints_, complaint_bytes_max))));
    }
    return text_in(output_, printed_bytes_max);
}

bool LvmTools::stuck() {
    if (stuck_ && stuck_->poll()) {
        stuck_.reset();
    }
    return stuck_.has_value();
}

}  // namespace cw::agent
