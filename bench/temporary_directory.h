// A directory that goes away with its owner.
#pragma once

#include "base/assert.h"

#include <filesystem>
#include <string>

#include <stdlib.h>

namespace cw::bench {

class TemporaryDirectory {
public:
    explicit TemporaryDirectory(const std::string& parent)
        : path_(parent + "/causeway-bench-XXXXXX") {
        CW_ASSERT(::mkdtemp(path_.data()) != nullptr);
        path_ = std::filesystem::absolute(path_);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

}  // namespace cw::bench
