#include "appliance/master_target/target_file.h"

#include "egress/volume/qcow2_image.h"

#include <tuple>
#include <utility>

namespace cw::appliance {
namespace {

Result<void> size_target(Disk& disk, const TargetOptions& options) {
    OpenOptions how;
    how.write = how.create = how.exclusive = true;
    CW_TRY_ASSIGN(const auto file, disk.open(options.path, how));
    CW_TRY(disk.resize(*file, options.size_bytes, false));
    return sync_file(disk, *file);
}

// One that could not be given its size is not left behind: the next start would take it for
// somebody's, of the wrong size.
Result<void> create_target(Disk& disk, const TargetOptions& options) {
    auto made = size_target(disk, options);
    if (!made && made.error().code != Errc::file_exists) {
        std::ignore = disk.remove(options.path);
    }
    return made;
}

}  // namespace

Result<std::uint64_t> find_target_size(Disk& disk, const TargetOptions& options, bool begun) {
    CW_TRY_ASSIGN(const bool exists, disk.exists(options.path));
    if (!exists && !begun && options.size_bytes > 0 && !options.path.starts_with("/dev/")) {
        CW_TRY(create_target(disk, options));
    }
    CW_TRY_ASSIGN(auto file, disk.open(options.path, {}));
    volume::TargetIo target(disk, std::move(file), false);
    const std::uint64_t size = target.size();
    if (!begun) {
        CW_TRY(volume::check_not_qcow2(target, options.path, options.size_bytes));
    }
    if (size == 0 || size % sector_bytes != 0 ||
        (options.size_bytes > 0 && size != options.size_bytes)) {
        return fail(
            Errc::target_unsafe,
            options.path + " has " + std::to_string(size) + " bytes" +
                (options.size_bytes > 0 ? ", configured are " + std::to_string(options.size_bytes)
                                        : std::string()));
    }
    return size;
}

}  // namespace cw::appliance
