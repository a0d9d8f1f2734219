#include "recovery/full_output.h"

#include "base/full_disk.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

namespace cw::recovery {
namespace {

std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Error name_full_output(Error error, const std::string& path, const std::string& written_to,
                       std::uint64_t bytes) {
    if (error.code != Errc::spool_full) {
        return error;
    }
    const std::string directory = parent_of(path);
    error = name_full_disk(std::move(error), directory, "a restore");
    struct statvfs room{};
    if (::statvfs(directory.c_str(), &room) == 0) {  // What exists in a simulation has none.
        struct stat partial{};
        const std::uint64_t written = ::stat(written_to.c_str(), &partial) == 0
                                          ? static_cast<std::uint64_t>(partial.st_blocks) * 512
                                          : 0;
        error.detail += "; it has room for " +
                        std::to_string(std::uint64_t{room.f_bavail} * room.f_frsize + written) +
                        " bytes of this file, which may take " + std::to_string(bytes);
    }
    return error;
}

std::string_view command_cause_of(Errc code) noexcept {
    return code == Errc::spool_full ? "the file system that this command writes to is full"
                                    : cause_of(code);
}

std::string_view command_advice_of(const Error& error) noexcept {
    return error.code == Errc::spool_full && error.next.empty()
               ? "free some space there, or name another place; then the same command again"
               : advice_of(error);
}

std::string command_text(const Error& error) {
    std::string text = std::string(name_of(error.code)) + " (" +
                       std::to_string(static_cast<unsigned>(error.code)) +
                       "): " + std::string(command_cause_of(error.code));
    if (!error.detail.empty()) {
        text += ": " + error.detail;
    }
    return text + "; next: " + std::string(command_advice_of(error));
}

}  // namespace cw::recovery
