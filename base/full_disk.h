// What a full disk means to whoever writes files of their own: not a server's cache, of which the
// code speaks, but the file system beneath them. Free some space there, and it goes on.
// Thread-safety: values.
#pragma once

#include "base/error.h"

#include <string>
#include <string_view>
#include <utility>

namespace cw {

// Says so in the detail of a spool_full, once: who is nearer to the file knows better. Other errors
// stay as they are. `path`: of the file, or of the files' directory; `writer`: whose they are.
inline Error name_full_disk(Error error, const std::string& path, std::string_view writer) {
    constexpr std::string_view mark = "this is no server's cache: ";
    if (error.code == Errc::spool_full && !error.detail.starts_with(mark)) {
        error.detail = std::string(mark) + "free some space on the file system of " + path +
                       ", where " + std::string(writer) + " writes (" + std::move(error.detail) +
                       "); see: df -h " + path;
    }
    return error;
}

template <typename T>
Result<T> name_full_disk(Result<T> result, const std::string& path, std::string_view writer) {
    if (!result) {
        return std::unexpected(name_full_disk(std::move(result).error(), path, writer));
    }
    return result;
}

}  // namespace cw
