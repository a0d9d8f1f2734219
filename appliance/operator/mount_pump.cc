#include "appliance/operator/mount_pump.h"

#include "base/assert.h"

#include <algorithm>
#include <cerrno>

#include <sys/eventfd.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr std::uint64_t cached_block_bytes = 256 * kib;
constexpr std::size_t cached_blocks_max = 256;  // 64 MiB.

}  // namespace

Result<std::unique_ptr<MountPump>> MountPump::open(const MountSource& source) {
    std::unique_ptr<MountPump> pump(new MountPump);
    pump->seams_ = make_system_seams();
    CW_TRY_ASSIGN(const config::Settings settings,
                  config::load_settings(*pump->seams_.disk, source.config_path));
    CW_TRY_ASSIGN(pump->opened_,
                  open_catalog(settings, pump->seams_, source.machine, source.accept_stale));
    const recovery::Catalog& catalog = *pump->opened_.catalog;
    CW_TRY_ASSIGN(const auto* point, catalog.find_point(source.point));
    CW_TRY_ASSIGN(const auto disk, catalog.find_disk(*point, source.disk));
    recovery::ReaderOptions options;
    options.download_threads = pump->opened_.download_threads;
    CW_TRY_ASSIGN(pump->image_, pump->opened_.source->open({point, disk}, options));
    pump->wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pump->wake_fd_ < 0) {
        return fail_errno(Errc::io_error, "eventfd", errno);
    }
    pump->thread_ = std::jthread([raw_pump = pump.get()] { raw_pump->run(); });
    return pump;
}

MountPump::~MountPump() {
    if (thread_.joinable()) {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        ::eventfd_write(wake_fd_, 1);
        thread_.join();
    }
    if (wake_fd_ >= 0) {
        ::close(wake_fd_);
    }
}

void MountPump::run() {
    std::size_t under_way = 0;
    while (true) {
        std::vector<Read*> fresh;
        {
            const std::lock_guard lock(mutex_);
            fresh.swap(queue_);
            if (stopping_ && fresh.empty() && under_way == 0) {
                return;
            }
        }
        for (Read* read : fresh) {
            ++under_way;
            image_->read_later({{read->offset, read->out}},
                               [this, read, &under_way](Result<void> done) {
                                   --under_way;
                                   const std::lock_guard lock(mutex_);
                                   read->result.emplace(std::move(done));
                                   // Under the lock: the reader's frame may be gone after it.
                                   finished_.notify_all();
                               });
        }
        if (image_->poll() == 0) {
            opened_.store->wait(recovery::image_wait_slice_ns, wake_fd_);
            eventfd_t ignored = 0;
            ::eventfd_read(wake_fd_, &ignored);
        }
    }
}

Result<void> MountPump::read_through(std::uint64_t offset, MutableBytes out) {
    Read read{.offset = offset, .out = out, .result = {}};
    std::unique_lock lock(mutex_);
    queue_.push_back(&read);
    ::eventfd_write(wake_fd_, 1);
    finished_.wait(lock, [&] { return read.result.has_value(); });
    return std::move(*read.result);
}

Result<MountPump::Block> MountPump::block_at(std::uint64_t offset) {
    {
        const std::lock_guard lock(cache_mutex_);
        const auto found = blocks_.find(offset);
        if (found != blocks_.end()) {
            recent_.splice(recent_.begin(), recent_, found->second.second);
            return found->second.first;
        }
    }
    auto bytes = std::make_shared<ByteVector>(std::min(cached_block_bytes, size_bytes() - offset));
    CW_TRY(read_through(offset, *bytes));
    const std::lock_guard lock(cache_mutex_);
    if (!blocks_.contains(offset)) {
        recent_.push_front(offset);
        blocks_.emplace(offset, std::pair(Block(bytes), recent_.begin()));
    }
    if (blocks_.size() > cached_blocks_max) {
        blocks_.erase(recent_.back());
        recent_.pop_back();
    }
    return bytes;
}

Result<void> MountPump::read(std::uint64_t offset, MutableBytes out) {
    CW_ASSERT(offset <= size_bytes() && out.size() <= size_bytes() - offset);
    if (out.empty()) {
        return {};
    }
    if (out.size() >= cached_block_bytes) {
        return read_through(offset, out);
    }
    for (std::uint64_t at = offset; at < offset + out.size();) {
        const std::uint64_t begin = at / cached_block_bytes * cached_block_bytes;
        const std::uint64_t end = std::min(begin + cached_block_bytes, offset + out.size());
        CW_TRY_ASSIGN(const Block block, block_at(begin));
        std::copy_n(block->begin() + static_cast<std::ptrdiff_t>(at - begin), end - at,
                    out.begin() + static_cast<std::ptrdiff_t>(at - offset));
        at = end;
    }
    return {};
}

std::vector<MountPump::Extent> MountPump::extents(std::uint64_t offset, std::uint64_t length,
                                                  std::size_t count_max) const {
    return image_->extents(offset, length, count_max);
}

}  // namespace cw::appliance
