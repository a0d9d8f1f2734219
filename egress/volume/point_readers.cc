#include "egress/volume/point_readers.h"

namespace cw::volume {
namespace {

constexpr int tries_max = 10;
constexpr std::size_t id_length = 36;

std::string directory_of(const std::string& work_directory) {
    return work_directory + "/readers";
}

Result<std::vector<std::string>> names_in(Disk& disk, const std::string& directory) {
    CW_TRY_ASSIGN(const bool there, disk.exists(directory));
    return there ? disk.list(directory) : std::vector<std::string>{};
}

}  // namespace

Result<std::unique_ptr<PointPin>> PointPin::take(Disk& disk, const std::string& work_directory,
                                                 const PointId& point, const std::string& reader) {
    CW_TRY_ASSIGN(const bool there, disk.exists(work_directory));
    if (!there) {
        return fail(Errc::not_found, work_directory);
    }
    CW_TRY(disk.create_directories(directory_of(work_directory)));
    const std::string path = directory_of(work_directory) + "/" + to_string(point) + "." + reader;
    // Others may take it for left over before it is locked: they lock it, remove it, let it go.
    for (int i = 0; i < tries_max; ++i) {
        auto file = disk.open(path, {.write = true, .create = true, .mode = 0644, .lock = true});
        if (!file && file.error().code != Errc::in_use) {
            return std::unexpected(file.error());
        }
        CW_TRY_ASSIGN(const bool ours, disk.exists(path));
        if (file && ours) {
            return std::unique_ptr<PointPin>(new PointPin(disk, path, std::move(*file)));
        }
    }
    return fail(Errc::in_use, path);
}

PointPin::~PointPin() {
    std::ignore = disk_.remove(path_);  // Or the next look removes it.
}

Result<std::vector<PointId>> points_being_read(Disk& disk, const std::string& work_directory) {
    const std::string directory = directory_of(work_directory);
    CW_TRY_ASSIGN(const auto names, names_in(disk, directory));
    std::vector<PointId> out;
    for (const std::string& name : names) {
        const auto point = parse_id<PointId>(name.substr(0, id_length));
        if (!point) {
            continue;
        }
        const std::string path = directory + "/" + name;
        const auto mine = disk.open(path, {.lock = true});
        if (!mine && mine.error().code == Errc::not_found) {
            continue;  // Its reader has just ended.
        }
        if (mine) {
            std::ignore = disk.remove(path);  // Held meanwhile: nobody takes it in between.
        } else {
            out.push_back(*point);
        }
    }
    return out;
}

Result<void> turn_readers_away(Disk& disk, const std::string& work_directory) {
    const std::string directory = directory_of(work_directory);
    CW_TRY_ASSIGN(const auto names, names_in(disk, directory));
    for (const std::string& name : names) {
        const auto removed = disk.remove(directory + "/" + name);
        if (!removed && removed.error().code != Errc::not_found) {
            return removed;
        }
    }
    return {};
}

}  // namespace cw::volume
