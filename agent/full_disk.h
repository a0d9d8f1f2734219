// What a full disk means to an agent: not the server's cache, of which the code speaks, but the
// file system beneath its own files. Free some space there, and it goes on.
// Thread-safety: values.
#pragma once

#include "base/error.h"

#include <string>
#include <utility>

namespace cw::agent {

// Says so in the detail of a spool_full; other errors stay as they are. `directory`: of the files.
inline Error name_full_disk(Error error, const std::string& directory) {
    constexpr std::string_view mark = "this is no server's cache: ";
    if (error.code == Errc::spool_full && !error.detail.starts_with(mark)) {
        error.detail = std::string(mark) + "free some space on the file system of " + directory +
                       ", where this agent writes (" + std::move(error.detail) + ")";
    }
    return error;
}
template <typename T>
Result<T> name_full_disk(Result<T> result, const std::string& directory) {
    if (!result) {
        return std::unexpected(name_full_disk(std::move(result).error(), directory));
    }
    return result;
}

}  // namespace cw::agent
