#include "recovery/full_output.h"

#include "base/disk.h"
#include "base/full_disk.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

namespace cw::recovery {

Error name_full_output(Error error, const std::string& path, const std::string& written_to,
                       std::uint64_t bytes) {
    if (error.code != Errc::disk_full) {
        return error;
    }
    const std::string directory = parent_of(path);
    error = name_full_disk(std::move(error), mount_of(directory), "this command");
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

}  // namespace cw::recovery
