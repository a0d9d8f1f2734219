// BlockImage: the bytes of a protected disk, whatever they lie on. A seam: tests use memory.
//
// Thread-safety: every method from any thread; calls that overlap in place are ordered by the
// caller (DiskCapture does it for writes). Offsets and lengths lie within size(); out of it aborts.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/net.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace cw::agent {

// Changes with every write to a file, whoever writes.
struct FileStamp {
    std::uint64_t inode = 0;
    std::int64_t modified_ns = 0;  // Since 1970.
};

class BlockImage {
public:
    virtual ~BlockImage() = default;
    [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;  // Bytes; fixed while open.
    // What lies beneath may be resized all the same, which nobody tells us. 0: cannot be told.
    [[nodiscard]] virtual std::uint64_t size_beneath() const noexcept { return size(); }
    // Its path names another file or device by now, or none.
    [[nodiscard]] virtual bool replaced() const { return false; }
    // Errors of all: source_gone (read), io_error (write, flush).
    virtual Result<void> read(std::uint64_t offset, MutableBytes out) = 0;
    virtual Result<void> write(std::uint64_t offset, Bytes bytes) = 0;
    // Afterwards the range reads as zeros. With `unmap` the space may be given back.
    virtual Result<void> zero(std::uint64_t offset, std::uint64_t length, bool unmap) = 0;
    virtual Result<void> flush() = 0;
    // Text that changes when somebody else writes to the image while nobody protects it: inode and
    // times of a file, boot id and written sectors of a device. Empty: cannot be told.
    [[nodiscard]] virtual std::string fingerprint() const = 0;
    // Of a regular file; cheap.
    [[nodiscard]] virtual std::optional<FileStamp> stamp() const { return std::nullopt; }
};

enum class ImageAccess { read_only, read_write };

// Whether what lies beneath has another size by now, and one that a disk can have: then it must be
// opened anew.
bool was_resized(const BlockImage& image) noexcept;

// A regular file or a block device. `read_only` is for what others write: of a device the page
// cache knows nothing of what a file system on it or on a partition writes, so it is read past it.
// `read_write` takes an advisory lock, so that two agents never capture one image. Errors:
// not_found, source_gone, target_unsafe (locked by another program), size_mismatch (empty, or not a
// multiple of a sector).
Result<std::unique_ptr<BlockImage>> open_image(const std::string& path, ImageAccess access);
// A copy that shares the file's extents (FICLONE), made in a moment; removed from the directory at
// once, so that it cannot be left behind. Errors: source_unfrozen where the file system has no
// reflinks.
Result<std::unique_ptr<BlockImage>> clone_image(const std::string& path,
                                                const std::string& clone_path);

}  // namespace cw::agent
