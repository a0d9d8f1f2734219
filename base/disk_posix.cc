#include "base/assert.h"
#include "base/disk_system.h"

#include <cerrno>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

namespace cw {
namespace {

std::int64_t perform(const Transfer& transfer) {
    const DiskRequest& request = transfer.request();
    const auto offset = static_cast<off_t>(transfer.offset());
    const int count = static_cast<int>(transfer.part_count());
    ssize_t moved = 0;
    switch (request.op) {
        case DiskOp::read:
            moved = preadv(transfer.fd(), transfer.parts(), count, offset);
            break;
        case DiskOp::write:
            moved = pwritev2(transfer.fd(), transfer.parts(), count, offset,
                             request.durable ? RWF_DSYNC : 0);
            break;
        case DiskOp::sync:
            moved = fdatasync(transfer.fd());
            break;
    }
    return moved < 0 ? -errno : moved;
}

class PosixDisk final : public SystemDisk {
public:
    PosixDisk() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CW_ASSERT(event_.valid()); }
    ~PosixDisk() override { CW_ASSERT(in_flight() == 0); }
    PosixDisk(const PosixDisk&) = delete;
    PosixDisk& operator=(const PosixDisk&) = delete;

    void start(DiskRequest& request) override {
        CW_ASSERT(request.file != nullptr && request.done != nullptr);
        queue_.push_back(&request);
        if (queue_.size() == 1) {
            CW_ASSERT(eventfd_write(event_.get(), 1) == 0);
        }
    }

    std::size_t poll() override {
        if (queue_.empty()) {
            return 0;
        }
        eventfd_t count = 0;
        CW_ASSERT(eventfd_read(event_.get(), &count) == 0 || errno == EAGAIN);
        // What a callback starts belongs to the next poll().
        const std::vector<DiskRequest*> batch = std::exchange(queue_, {});
        running_ += batch.size();
        for (DiskRequest* const request : batch) {
            transfer_.begin(*request);
            while (!transfer_.advance(perform(transfer_))) {
            }
            --running_;
            request->done(*request);
        }
        return batch.size();
    }

    void wait(std::int64_t timeout_ns) override {
        if (queue_.empty() && timeout_ns > 0) {
            const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
            ppoll(nullptr, 0, &timeout, nullptr);
        }
    }
    std::size_t in_flight() const noexcept override { return queue_.size() + running_; }
    int event_fd() const noexcept override { return event_.get(); }

private:
    Fd event_;  // Readable while the queue is not empty.
    std::vector<DiskRequest*> queue_;
    std::size_t running_ = 0;  // Taken out of the queue by the poll() under way.
    Transfer transfer_;
};

}  // namespace

std::unique_ptr<Disk> make_posix_disk() {
    return std::make_unique<PosixDisk>();
}

}  // namespace cw
