// A file or directory that is held: a lock on what a name leads to, which the kernel ends with this
// process, however it ends. Whoever finds a held name leaves it; what nobody holds was left over.
#pragma once

#include "base/error.h"
#include "base/net.h"

#include <string>
#include <utility>

namespace cw {

// Whether `path` itself (not where a link leads) is the file that `fd` has open: its number alone
// is not it, every file system counts from one.
bool leads_to(const std::string& path, int fd);

// Opens `path` (never through a link) with these flags of open(2) and holds it.
// Errors: in_use (somebody else holds it, or it was replaced meanwhile), not_found, io_error.
Result<Fd> hold_file(const std::string& path, int flags);

// `path` as a file that is there only to be held: made if absent, removed at the end. One that was
// left by somebody who was killed is taken over. Errors: as hold_file(); not_found: the directory.
class LockFile {
public:
    static Result<LockFile> take(const std::string& path);
    LockFile(LockFile&&) noexcept = default;
    LockFile& operator=(LockFile&&) = delete;
    ~LockFile();

    [[nodiscard]] int fd() const noexcept { return held_.get(); }
    void leave() noexcept { held_.reset(); }  // It turned out not to be one: it stays.

private:
    LockFile(std::string path, Fd held) : path_(std::move(path)), held_(std::move(held)) {}
    std::string path_;
    Fd held_;
};

}  // namespace cw
