// OutputFile: where a restored disk goes. A regular file appears under its name only when it is
// whole and on stable storage; a block device is written in place, zeros too. What a larger device
// has behind the disk is left as it is.
//
// Thread-safety: none; belongs to the disk's thread.
#pragma once

#include "base/disk.h"
#include "base/held_file.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace cw::recovery {

class OutputFile {
public:
    // Opens the partial file of `path` for `bytes`, or the device at `path` itself. A file is held
    // (output_hold.h): what a command that was killed has left of it is removed.
    // Without `force` an existing path is refused, unless `may_replace` says yes to what is there:
    // at once, and again right before the file gets its name. A device is always an existing path.
    // Errors: file_exists; in_use (another command writes it); target_unsafe (a device that is in
    // use, as TargetProbe::check_unused() says, or smaller than `bytes`; something that is neither
    // file nor block device, whatever `force` says); disk_full (no room), io_error.
    static Result<OutputFile> create(Disk& disk, const std::string& path, std::uint64_t bytes,
                                     bool force, std::function<bool()> may_replace = {});
    OutputFile(OutputFile&&) noexcept = default;
    OutputFile& operator=(OutputFile&&) = delete;
    ~OutputFile();  // Removes a partial file that was not finished.

    // True if unwritten bytes read as zero.
    [[nodiscard]] bool sparse() const noexcept { return !device_; }
    Result<void> write(std::uint64_t offset, Bytes bytes);
    // Reads back what was written. Errors: io_error, also when the file is too short.
    Result<void> read(std::uint64_t offset, MutableBytes out);
    Result<void> sync();
    // Gives the file its name, durably. After sync().
    Result<void> finish();

private:
    OutputFile(Disk& disk, std::string path, bool device, bool force,
               std::function<bool()> may_replace);
    template <typename T>
    Result<T> named(Result<T> result) const;  // A full file system is.

    Disk* disk_;
    std::string path_;
    std::string written_to_;  // The partial file's path, or the device's.
    bool device_;
    bool force_;
    std::function<bool()> may_replace_;
    std::uint64_t bytes_ = 0;       // Of the whole disk.
    std::optional<LockFile> held_;  // Of a file; until nothing partial is left of it.
    std::unique_ptr<File> file_;    // Null once moved from or finished.
};

}  // namespace cw::recovery
