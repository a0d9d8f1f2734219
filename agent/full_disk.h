// What a full disk means to an agent: base/full_disk.h.
// Thread-safety: values.
#pragma once

#include "base/full_disk.h"

#include <string>
#include <utility>

namespace cw::agent {

// Of a disk_full; other errors stay as they are. `directory`: of the files.
inline Error name_full_disk(Error error, const std::string& directory) {
    return cw::name_full_disk(std::move(error), directory, "this agent");
}
template <typename T>
Result<T> name_full_disk(Result<T> result, const std::string& directory) {
    return cw::name_full_disk(std::move(result), directory, "this agent");
}

}  // namespace cw::agent
