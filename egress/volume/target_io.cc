#include "egress/volume/target_io.h"

#include "base/assert.h"
#include "base/ids.h"

#include <algorithm>
#include <utility>

namespace cw::volume {
namespace {

constexpr std::size_t window_bytes = 1 * mib;

}  // namespace

Result<std::unique_ptr<TargetIo>> TargetIo::open(Disk& disk, const std::string& path, bool device,
                                                 bool write) {
    OpenOptions how;
    how.write = write;
    how.exclusive = how.direct = device;
    CW_TRY_ASSIGN(auto file, disk.open(path, how));
    return std::make_unique<TargetIo>(disk, std::move(file), device);
}

TargetIo::TargetIo(Disk& disk, std::unique_ptr<File> file, bool direct)
    : disk_(disk), file_(std::move(file)) {
    if (direct) {
        memory_.resize(window_bytes + block_bytes);
        void* start = memory_.data();
        std::size_t space = memory_.size();
        CW_ASSERT(std::align(block_bytes, window_bytes, start, space) != nullptr);
        window_ = MutableBytes(static_cast<std::byte*>(start), window_bytes);
    }
}

Result<void> TargetIo::read(std::uint64_t offset, MutableBytes out) {
    CW_ASSERT(offset <= size() && out.size() <= size() - offset);
    while (!out.empty()) {
        const std::uint64_t from = window_.empty() ? offset : offset / block_bytes * block_bytes;
        const std::size_t skip = offset - from;
        const std::size_t step =
            window_.empty() ? out.size() : std::min(out.size(), window_.size() - skip);
        const std::uint64_t end = std::min(align_up(offset + step, block_bytes), size());
        const MutableBytes into = window_.empty() ? out : window_.first(end - from);
        CW_TRY_ASSIGN(const std::size_t got, read_at(disk_, *file_, from, into));
        if (got != into.size()) {
            return fail(Errc::io_error, "the target is shorter than it was");
        }
        if (!window_.empty()) {
            std::copy_n(window_.begin() + static_cast<std::ptrdiff_t>(skip), step, out.begin());
        }
        out = out.subspan(step);
        offset += step;
    }
    return {};
}

Result<void> TargetIo::write(std::uint64_t offset, Bytes bytes) {
    CW_ASSERT(offset <= size() && bytes.size() <= size() - offset);
    CW_ASSERT(offset % block_bytes == 0);
    CW_ASSERT(bytes.size() % block_bytes == 0 || offset + bytes.size() == size());
    while (!bytes.empty()) {
        const std::size_t step =
            window_.empty() ? bytes.size() : std::min(bytes.size(), window_.size());
        Bytes from = bytes.first(step);
        if (!window_.empty()) {
            std::copy(from.begin(), from.end(), window_.begin());
            from = window_.first(step);
        }
        CW_TRY(write_at(disk_, *file_, offset, from, false));
        bytes = bytes.subspan(step);
        offset += step;
    }
    return {};
}

}  // namespace cw::volume
