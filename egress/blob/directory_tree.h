// The system calls of the directory store: durable, atomic operations below one root directory.
//
// This is one of the few places that call open(2) and its family themselves: an object store over
// a file system needs link, flock and timestamps, which the Disk seam has no reason to offer.
// Everything is relative to the root's descriptor, never follows a symbolic link at the last step,
// and syncs the directories it changes before it reports success.
//
// Thread-safety: none. Blocking.
#pragma once

#include "base/net.h"
#include "egress/blob/store.h"

#include <sys/stat.h>

namespace cw::blob {

class DirectoryTree {
public:
    // Creates `path` when `create`. Errors: vault_missing, blob_denied,
    // io_error.
    static Result<DirectoryTree> open(const std::string& path, bool create);

    // Errors: blob_not_found, and those of fail_call().
    [[nodiscard]] Result<Fd> open_file(const std::string& path) const;
    [[nodiscard]] Result<struct stat> status(const std::string& path) const;
    [[nodiscard]] Result<ByteVector> read_small(const std::string& path) const;  // <= 64 KiB
    // Names in `path`, directories with a trailing '/', in byte order. A missing directory is
    // empty.
    [[nodiscard]] Result<std::vector<std::string>> list(const std::string& path) const;

    Result<void> make_directories(const std::string& path) const;
    Result<void> make_parents(const std::string& path) const;
    // A new file below the temporary directory, written and synced, stamped `mtime_ns`.
    Result<std::string> write_temporary(const std::string& unique, const std::vector<Bytes>& parts,
                                        std::int64_t mtime_ns) const;
    Result<void> stamp(const std::string& path, std::int64_t mtime_ns) const;
    // Gives `from` its final name. blob_conflict if `to` exists and `replace` is false.
    // `published` becomes true once `to` may be visible: a later failure leaves that in doubt.
    Result<void> publish(const std::string& from, const std::string& to, bool replace,
                         bool& published) const;
    // Absent is success.
    Result<void> unlink(const std::string& path) const;
    // Removes the directories above `path` that are empty, up to and without `stop`.
    void prune(const std::string& path, const std::string& stop) const;
    // Waits for the lock file `name`, at most 20 s; closing the result unlocks. Errors:
    // blob_unavailable (its holder does not let go).
    [[nodiscard]] Result<Fd> lock(const std::string& name, bool exclusive) const;
    // Removes temporaries whose writer died: not touched since `before_s` (Unix seconds).
    void sweep_temporaries(std::int64_t before_s) const;

private:
    DirectoryTree(Fd root, std::string path) : root_(std::move(root)), path_(std::move(path)) {}
    Result<Fd> create_file(const std::string& path, int flags) const;
    Result<void> sync_parent(const std::string& path) const;

    // Who has to make room must know where: names below the root do not say it.
    Error named(Error error) const;

    Fd root_;
    std::string path_;  // Of the root, for people.
};

}  // namespace cw::blob
