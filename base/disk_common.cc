#include "base/assert.h"
#include "base/disk_system.h"
#include "base/ids.h"

#include <algorithm>
#include <cerrno>
#include <climits>

namespace cw {
namespace {

// An answer that asks for patience (EINTR, EAGAIN) this often in a row is an error after all.
constexpr unsigned tries_max = 1000;
constexpr std::int64_t pump_ns = 100'000'000;

// Starts `request` and pumps `disk` until it is done; its result.
std::int64_t run(Disk& disk, DiskRequest& request) {
    bool finished = false;
    request.context = &finished;
    request.done = [](DiskRequest& r) { *static_cast<bool*>(r.context) = true; };
    disk.start(request);
    while (true) {
        disk.poll();
        if (finished) {
            return request.result;
        }
        disk.wait(pump_ns);
    }
}

}  // namespace

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) {
        return ".";
    }
    return slash == 0 ? "/" : path.substr(0, slash);
}

void Transfer::begin(DiskRequest& request) {
    CW_ASSERT(request.file != nullptr && request.done != nullptr);
    request_ = &request;
    wanted_ = moved_ = 0;
    tries_ = 0;
    rest_.clear();
    if (request.op == DiskOp::sync) {
        return;
    }
    CW_ASSERT(request.part_count >= 1 && request.part_count <= IOV_MAX);
    const bool direct = file().direct();
    for (unsigned i = 0; i < request.part_count; ++i) {
        const iovec& part = request.parts[i];
        CW_ASSERT(!direct || reinterpret_cast<std::uintptr_t>(part.iov_base) % sector_bytes == 0);
        CW_ASSERT(!direct || part.iov_len % sector_bytes == 0);
        wanted_ += part.iov_len;
    }
    CW_ASSERT(!direct || request.offset % sector_bytes == 0);
    CW_ASSERT(wanted_ <= INT_MAX);  // The kernel moves no more in one call.
}

bool Transfer::advance(std::int64_t answer) {
    if (answer == -EINTR || answer == -EAGAIN) {
        return ++tries_ >= tries_max ? finish(answer) : false;
    }
    if (answer < 0 || request_->op == DiskOp::sync) {
        return finish(answer);  // -ECANCELED too: a cancelled write has not happened.
    }
    if (answer == 0 && moved_ < wanted_) {
        // Reading: the end of the file. A write that moves nothing would never end.
        return finish(request_->op == DiskOp::read ? static_cast<std::int64_t>(moved_) : -EIO);
    }
    tries_ = 0;
    std::uint64_t step = static_cast<std::uint64_t>(answer);
    CW_ASSERT(step <= wanted_ - moved_);
    if (moved_ + step == wanted_) {
        return finish(static_cast<std::int64_t>(wanted_));
    }
    if (file().direct() && (moved_ + step) % block_bytes != 0) {
        // O_DIRECT cannot go on from within a block. For a read this is the end of the file; of a
        // write the broken block is written again.
        if (request_->op == DiskOp::read) {
            return finish(static_cast<std::int64_t>(moved_ + step));
        }
        step -= std::min(step, (moved_ + step) % block_bytes);
        if (step == 0 && ++tries_ >= tries_max) {
            return finish(-EIO);
        }
    }
    moved_ += step;
    cut_front();
    return false;
}

bool Transfer::finish(std::int64_t result) {
    request_->result = result;
    return true;
}

void Transfer::cut_front() {
    rest_.clear();
    std::uint64_t skip = moved_;
    for (unsigned i = 0; i < request_->part_count; ++i) {
        iovec part = request_->parts[i];
        const std::uint64_t gone = std::min<std::uint64_t>(skip, part.iov_len);
        skip -= gone;
        part.iov_base = static_cast<std::byte*>(part.iov_base) + gone;
        part.iov_len -= gone;
        if (part.iov_len > 0) {
            rest_.push_back(part);
        }
    }
}

std::unique_ptr<Disk> make_best_disk(unsigned queue_depth) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    static_cast<void>(queue_depth);
    return make_posix_disk();
#else
    auto uring = make_uring_disk(queue_depth);
    return uring ? std::move(*uring) : make_posix_disk();
#endif
}

Result<std::size_t> read_at(Disk& disk, File& file, std::uint64_t offset, MutableBytes out) {
    std::size_t done = 0;
    while (done < out.size()) {
        const std::size_t step = std::min<std::size_t>(out.size() - done, gib);
        const iovec part{out.data() + done, step};
        DiskRequest request{.op = DiskOp::read, .file = &file, .offset = offset + done};
        request.parts = &part;
        request.part_count = 1;
        const std::int64_t moved = run(disk, request);
        if (moved < 0) {
            return fail_errno(Errc::io_error, "read", static_cast<int>(-moved));
        }
        done += static_cast<std::size_t>(moved);
        if (static_cast<std::size_t>(moved) < step) {
            break;
        }
    }
    return done;
}

Result<void> write_at(Disk& disk, File& file, std::uint64_t offset, Bytes bytes, bool durable) {
    while (!bytes.empty()) {
        const std::size_t step = std::min<std::size_t>(bytes.size(), gib);
        const iovec part{const_cast<std::byte*>(bytes.data()), step};
        DiskRequest request{
            .op = DiskOp::write, .durable = durable, .file = &file, .offset = offset};
        request.parts = &part;
        request.part_count = 1;
        const std::int64_t moved = run(disk, request);
        if (moved < 0) {
            const bool no_room = moved == -ENOSPC || moved == -EDQUOT;
            return fail_errno(no_room ? Errc::disk_full : Errc::io_error, "write",
                              static_cast<int>(-moved));
        }
        CW_ASSERT(static_cast<std::size_t>(moved) == step);
        bytes = bytes.subspan(step);
        offset += step;
    }
    return {};
}

Result<void> sync_file(Disk& disk, File& file) {
    DiskRequest request{.op = DiskOp::sync, .file = &file};
    const std::int64_t result = run(disk, request);
    if (result < 0) {
        return fail_errno(Errc::io_error, "sync", static_cast<int>(-result));
    }
    return {};
}

Result<std::unique_ptr<File>> lock_directory(Disk& disk, const std::string& directory) {
    CW_TRY(disk.create_directories(directory));
    return disk.open(directory + "/lock", {.write = true, .create = true, .lock = true});
}

Result<ByteVector> read_file(Disk& disk, const std::string& path, std::size_t max) {
    CW_TRY_ASSIGN(const auto file, disk.open(path, {}));
    const auto* const real = dynamic_cast<const SystemFile*>(file.get());
    if (real != nullptr && !real->oddity().empty()) {
        return std::unexpected(Error{Errc::config_invalid,
                                     path + " is " + std::string(real->oddity()) + ", not a file",
                                     "put a regular file there, or name another"});
    }
    // What it is said to hold is not believed: a file that tells no size would be an empty one.
    const std::uint64_t size = file->size();
    ByteVector bytes;
    std::uint64_t got = 0;
    while (size <= max && got == bytes.size() && got <= max) {
        bytes.resize(std::min<std::uint64_t>(max, got == 0 ? size : 2 * got) + 1);
        const auto part = read_at(disk, *file, got, MutableBytes(bytes).subspan(got));
        if (!part) {
            return fail(part.error().code, path + ": " + part.error().detail);
        }
        got += *part;
    }
    if (std::max(size, got) > max) {
        return std::unexpected(
            Error{Errc::io_error,
                  path + " has more than the " + std::to_string(max) + " bytes that are allowed",
                  "name the right file, or put it there"});
    }
    if (got < size) {
        return fail(Errc::io_error, path + " ended after " + std::to_string(got) + " of its " +
                                        std::to_string(size) + " bytes");
    }
    bytes.resize(got);
    return bytes;
}

}  // namespace cw
