#include "base/whole_file.h"

#include "base/full_disk.h"

#include <algorithm>
#include <cerrno>
#include <string_view>

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

namespace cw {
namespace {

constexpr std::size_t mark_bytes = 8;
constexpr std::string_view ending = ".new";

// The name until it is whole is drawn: one and the same for all would let one who makes the file
// at the same time give our name to its own half.
std::string draw_name(const std::string& path, Random& random) {
    std::array<std::byte, mark_bytes> mark;
    random.fill(mark);
    return path + "." + to_hex(mark) + std::string(ending);
}

// Of which file it was to be the name; empty: it is none of those.
std::string_view whole_name(std::string_view name) {
    constexpr std::size_t added = 1 + 2 * mark_bytes + ending.size();
    if (name.size() <= added || name[name.size() - added] != '.' || !name.ends_with(ending)) {
        return {};
    }
    const std::string_view of = name.substr(0, name.size() - added);
    const bool drawn = std::ranges::all_of(name.substr(of.size() + 1, 2 * mark_bytes), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    });
    return drawn ? of : std::string_view();
}

// What stays all the same stops nobody: its name is never given again.
template <typename Wanted>
void remove_if(Disk& disk, const std::string& directory, Wanted wanted) {
    const auto names = disk.list(directory);
    for (const std::string& name : names.value_or(std::vector<std::string>{})) {
        const std::string_view of = whole_name(name);
        if (!of.empty() && wanted(of)) {
            static_cast<void>(disk.remove(directory + "/" + name));
        }
    }
}

std::string name_in_directory(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

// The disk seam's rename replaces, so this goes to the system; a file that exists only in a
// simulation, which has one process, is asked for first.
Result<void> give_name(Disk& disk, const std::string& from, const std::string& to) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
        return {};
    }
    int error = errno;
    if (error == EINVAL || error == ENOSYS) {  // A file system of the network: links it has.
        if (::link(from.c_str(), to.c_str()) == 0) {
            return disk.remove(from);
        }
        error = errno;
    }
    if (error == EEXIST) {
        return fail(Errc::file_exists, to);
    }
    if (error != ENOENT) {
        const bool no_room = error == ENOSPC || error == EDQUOT;
        return fail_errno(no_room ? Errc::disk_full : Errc::io_error, "give the name " + to, error);
    }
    CW_TRY_ASSIGN(const bool taken, disk.exists(to));
    return taken ? fail(Errc::file_exists, to) : disk.rename(from, to);
}

Result<void> write_whole(Disk& disk, const std::string& path, Bytes bytes, unsigned mode) {
    CW_TRY_ASSIGN(
        const auto file,
        disk.open(path, {.write = true, .create = true, .exclusive = true, .mode = mode}));
    CW_TRY(write_at(disk, *file, 0, bytes, false));
    return sync_file(disk, *file);
}

}  // namespace

Result<void> write_file_atomically(Disk& disk, const std::string& path, Bytes bytes,
                                   unsigned mode) {
    const std::string temporary = path + ".new";
    CW_TRY_ASSIGN(const bool left_over, disk.exists(temporary));
    if (left_over) {  // Of a run that was cut short; its mode may be another one.
        CW_TRY(disk.remove(temporary));
    }
    Result<void> written = write_whole(disk, temporary, bytes, mode);
    if (written) {
        written = disk.rename(temporary, path);
    }
    if (!written) {
        static_cast<void>(disk.remove(temporary));  // The cause is what people need.
        return name_full_file(std::move(written), path);
    }
    // Without this the rename may not survive a power cut.
    return disk.sync_directory(parent_of(path));
}

Result<void> create_file_atomically(Disk& disk, Random& random, const std::string& path,
                                    Bytes bytes, unsigned mode) {
    remove_if(disk, parent_of(path),
              [&](std::string_view of) { return of == name_in_directory(path); });
    const std::string written_to = draw_name(path, random);
    Result<void> made = write_whole(disk, written_to, bytes, mode);
    if (made) {
        made = give_name(disk, written_to, path);
    }
    if (!made) {
        static_cast<void>(disk.remove(written_to));  // The cause is what people need.
        return name_full_file(std::move(made), path);
    }
    return disk.sync_directory(parent_of(path));
}

Result<void> give_free_name(Disk& disk, const std::string& from, const std::string& to) {
    CW_TRY(give_name(disk, from, to));
    return disk.sync_directory(parent_of(to));
}

void remove_left_overs(Disk& disk, const std::string& prefix) {
    remove_if(disk, parent_of(prefix),
              [&](std::string_view of) { return of.starts_with(name_in_directory(prefix)); });
}

}  // namespace cw
