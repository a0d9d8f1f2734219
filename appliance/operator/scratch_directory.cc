#include "appliance/operator/scratch_directory.h"

#include "base/held_file.h"
#include "base/log.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

// Invalid: somebody else's, or it is gone.
Fd hold(const std::string& path) {
    auto held = hold_file(path, O_RDONLY | O_DIRECTORY);
    struct stat status{};
    const bool ours = held && ::fstat(held->get(), &status) == 0 && status.st_uid == ::geteuid();
    return ours ? std::move(*held) : Fd{};
}

void remove_with_all(const std::string& path) {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) {
        log_warning("scratch.left", {{"path", path}, {"error", error.message()}});
    }
}

// What was left by those that were killed: nobody holds it, and nobody will ask for it again.
void remove_left_over(const std::string& parent, const std::string& prefix) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(parent, ignored)) {
        const std::string path = entry.path().string();
        if (!entry.path().filename().string().starts_with(prefix)) {
            continue;
        }
        if (const Fd held = hold(path); held.valid()) {
            remove_with_all(path);
        }
    }
}

}  // namespace

Result<ScratchDirectory> ScratchDirectory::make(const std::string& parent, std::string_view kind) {
    constexpr int tries_max = 10;  // Another one may take it for left over before it is held.
    const std::string prefix = "causeway-" + std::string(kind) + ".";
    remove_left_over(parent, prefix);
    std::string path;
    for (int i = 0; i < tries_max; ++i) {
        path = parent + "/" + prefix + "XXXXXX";
        if (::mkdtemp(path.data()) == nullptr) {  // Mode 0700: it is the access control.
            return fail_errno(Errc::io_error, "mkdtemp " + path, errno);
        }
        if (Fd held = hold(path); held.valid()) {
            return ScratchDirectory(std::move(path), std::move(held));
        }
    }
    return fail(Errc::io_error, "cannot hold " + path);
}

ScratchDirectory::ScratchDirectory(ScratchDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})), held_(std::move(other.held_)) {}

ScratchDirectory& ScratchDirectory::operator=(ScratchDirectory&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(held_, other.held_);
    return *this;
}

ScratchDirectory::~ScratchDirectory() {
    if (!path_.empty()) {
        remove_with_all(path_);
    }
}

std::string temporary_directory() {
    std::error_code ignored;
    return std::filesystem::temp_directory_path(ignored).string();
}

}  // namespace cw::appliance
