#include "recovery/output_file.h"

#include "base/assert.h"
#include "base/log.h"
#include "egress/volume/target_probe.h"
#include "recovery/full_output.h"
#include "recovery/output_hold.h"

#include <sys/stat.h>

namespace cw::recovery {
namespace {

// The disk seam does not tell files from devices; what exists only in a simulation is a file.
// Errors: target_unsafe: a directory cannot be replaced, and /dev/null or a pipe must not be.
Result<bool> is_block_device(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode)) {
        return false;
    }
    if (!S_ISBLK(status.st_mode)) {
        return fail(Errc::target_unsafe, path + " is neither a file nor a block device");
    }
    return true;
}

}  // namespace

OutputFile::OutputFile(Disk& disk, std::string path, bool device, bool force,
                       std::function<bool()> may_replace)
    : disk_(&disk),
      path_(std::move(path)),
      written_to_(device ? path_ : partial_of(path_)),
      device_(device),
      force_(force),
      may_replace_(std::move(may_replace)) {}

template <typename T>
Result<T> OutputFile::named(Result<T> result) const {
    if (!result) {
        return std::unexpected(
            name_full_output(std::move(result).error(), path_, written_to_, bytes_));
    }
    return result;
}

OutputFile::~OutputFile() {
    if (file_ == nullptr || device_) {
        return;
    }
    file_.reset();
    if (const auto removed = disk_->remove(written_to_); !removed) {
        log_warning("restore.partial.left", {{"path", written_to_}, {"error", removed.error()}});
    }
}

Result<OutputFile> OutputFile::create(Disk& disk, const std::string& path, std::uint64_t bytes,
                                      bool force, std::function<bool()> may_replace) {
    CW_TRY_ASSIGN(const bool exists, disk.exists(path));
    if (exists && !force && !(may_replace && may_replace())) {
        return fail(Errc::file_exists, path);
    }
    CW_TRY_ASSIGN(const bool device, is_block_device(path));
    OutputFile out(disk, path, device, force, std::move(may_replace));
    if (out.device_) {
        // Opening alone does not see a loop device or swap space on it, nor says who holds it.
        CW_TRY(volume::make_system_probe()->check_unused(path));
        CW_TRY_ASSIGN(out.file_, disk.open(path, {.write = true, .exclusive = true}));
        if (out.file_->size() < bytes) {
            return fail(Errc::target_unsafe, path + " has " + std::to_string(out.file_->size()) +
                                                 " bytes, the disk needs " + std::to_string(bytes));
        }
        return out;
    }
    CW_TRY_ASSIGN(auto held, hold_output(path));
    if (held) {
        out.held_.emplace(std::move(*held));
    }
    CW_TRY_ASSIGN(const bool left_over, disk.exists(out.written_to_));
    if (left_over) {
        CW_TRY(disk.remove(out.written_to_));
    }
    out.bytes_ = bytes;
    CW_TRY_ASSIGN(
        out.file_,
        out.named(disk.open(out.written_to_, {.write = true, .create = true, .exclusive = true})));
    CW_TRY(out.named(disk.resize(*out.file_, bytes, false)));
    return out;
}

Result<void> OutputFile::write(std::uint64_t offset, Bytes bytes) {
    return named(write_at(*disk_, *file_, offset, bytes, false));
}

Result<void> OutputFile::read(std::uint64_t offset, MutableBytes out) {
    CW_TRY_ASSIGN(const std::size_t n, read_at(*disk_, *file_, offset, out));
    if (n != out.size()) {
        return fail(Errc::io_error, written_to_ + " ends at byte " + std::to_string(offset + n));
    }
    return {};
}

Result<void> OutputFile::sync() {
    return named(sync_file(*disk_, *file_));
}

Result<void> OutputFile::finish() {
    if (!device_) {
        CW_TRY_ASSIGN(const bool exists, disk_->exists(path_));
        if (exists && !force_ && !(may_replace_ && may_replace_())) {
            return fail(Errc::file_exists, path_ + " appeared, or was touched, meanwhile");
        }
        CW_TRY(disk_->rename(written_to_, path_));
        file_.reset();  // It has its name: nothing is partial any more.
        return disk_->sync_directory(parent_of(path_));
    }
    file_.reset();
    return {};
}

}  // namespace cw::recovery
