// By what a file is known that nobody has touched since a program finished it.
// Thread-safety: free functions.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

namespace cw::appliance {

// Which regular file it is, and when it was changed last.
struct FileMark {
    std::uint64_t device = 0, inode = 0;
    // Nanoseconds since 1970. Of a file with its name: its change time, which every write, chmod,
    // link or rename moves. Of one that is about to get its name, which moves that time: the time
    // of its content. It stands for the moment between the two only.
    std::int64_t time_ns = 0;
    bool named = true;
    [[nodiscard]] bool same_file(const FileMark& other) const noexcept {
        return device == other.device && inode == other.inode;
    }
    friend auto operator<=>(const FileMark&, const FileMark&) = default;
};

// Of the file at `path` as it is. nullopt: no regular file is there (a link is none).
std::optional<FileMark> mark_of(const std::string& path);
std::optional<FileMark> mark_before_name(const std::string& path);

}  // namespace cw::appliance
