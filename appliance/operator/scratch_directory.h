// ScratchDirectory: a private place for work files that never outlives its use by more than the
// next command of the kind: whoever makes one first removes those that nobody holds any more.
#pragma once

#include "base/error.h"
#include "base/net.h"

#include <string>
#include <string_view>

namespace cw::appliance {

class ScratchDirectory {
public:
    // `parent`/causeway-`kind`.XXXXXX, for this user alone. It is held by a lock that the kernel
    // ends with this process; those of the kind in `parent` whose holder is gone are removed with
    // all that is in them. Errors: io_error.
    static Result<ScratchDirectory> make(const std::string& parent, std::string_view kind);
    ScratchDirectory(ScratchDirectory&& other) noexcept;
    ScratchDirectory& operator=(ScratchDirectory&& other) noexcept;
    ~ScratchDirectory();  // Everything in it goes with it.

    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    ScratchDirectory(std::string path, Fd held) : path_(std::move(path)), held_(std::move(held)) {}
    std::string path_;  // Empty: moved from.
    Fd held_;
};

// Where work files go unless somebody says otherwise: TMPDIR, or /tmp.
std::string temporary_directory();

}  // namespace cw::appliance
