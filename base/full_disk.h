// Which file system is full, of an error that says that one is. Its writer knows, who is near.
// Thread-safety: values and free functions without state.
#pragma once

#include "base/error.h"

#include <string>
#include <string_view>
#include <utility>

namespace cw {

// Names the place in a disk_full and in its advice, once: who is nearer to the file knows better.
// Other errors stay as they are. `path`: of the file, or of the files' directory; `writer`: whose
// they are. The advice names what still exists when a work directory is gone again.
Error name_full_disk(Error error, const std::string& path, std::string_view writer);
// The same where it is one file at `path` that is written.
Error name_full_file(Error error, const std::string& path);

template <typename T>
Result<T> name_full_disk(Result<T> result, const std::string& path, std::string_view writer) {
    if (!result) {
        return std::unexpected(name_full_disk(std::move(result).error(), path, writer));
    }
    return result;
}

template <typename T>
Result<T> name_full_file(Result<T> result, const std::string& path) {
    if (!result) {
        return std::unexpected(name_full_file(std::move(result).error(), path));
    }
    return result;
}

// Whether it is for want of room that a program of others, whose messages `output` holds, failed.
bool tells_full_disk(std::string_view output) noexcept;

// Where the file system of `path` is mounted, absolute; of a `path` that does not exist, where it
// would be. What exists in a simulation alone is its own answer.
std::string mount_of(const std::string& path);

}  // namespace cw
