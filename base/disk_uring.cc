#include "base/assert.h"
#include "base/disk_system.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>

#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace cw {
namespace {

// Debian's liburing declares wrappers for these two operations but does not export them.
int register_ring(const io_uring& ring, unsigned operation, void* argument, unsigned count) {
    const long result = syscall(__NR_io_uring_register, ring.ring_fd, operation, argument, count);
    return result < 0 ? -errno : 0;
}

// seccomp does not see what goes through a ring, so the ring itself permits only what a disk needs.
int restrict_ring(const io_uring& ring) {
    std::array<io_uring_restriction, 3> rules{};
    const std::array<std::uint8_t, 3> allowed{IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC};
    for (std::size_t i = 0; i < rules.size(); ++i) {
        rules[i].opcode = IORING_RESTRICTION_SQE_OP;
        rules[i].sqe_op = allowed[i];
    }
    return register_ring(ring, IORING_REGISTER_RESTRICTIONS, rules.data(), rules.size());
}

class UringDisk final : public SystemDisk {
public:
    explicit UringDisk(unsigned depth)
        : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), slots_(depth) {
        CW_ASSERT(event_.valid() && depth >= 1);
        free_slots_.reserve(depth);
        for (unsigned i = depth; i > 0; --i) {
            free_slots_.push_back(i - 1);
        }
    }
    ~UringDisk() override {
        CW_ASSERT(in_flight() == 0);
        if (ready_) {
            io_uring_queue_exit(&ring_);
        }
    }
    UringDisk(const UringDisk&) = delete;
    UringDisk& operator=(const UringDisk&) = delete;

    Result<void> set_up() {
        // Completions are worked off in our own calls, not by interrupting this thread; kernels
        // before 5.19 do not know that.
        constexpr unsigned wanted = IORING_SETUP_R_DISABLED;
        constexpr unsigned quiet = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
        const auto depth = static_cast<unsigned>(slots_.size());
        int result = io_uring_queue_init(depth, &ring_, wanted | quiet);
        if (result == -EINVAL) {
            result = io_uring_queue_init(depth, &ring_, wanted);
        }
        if (result < 0) {
            return fail_errno(Errc::io_error, "io_uring", -result);
        }
        ready_ = true;
        result = io_uring_register_eventfd(&ring_, event_.get());
        if (result == 0) {
            result = restrict_ring(ring_);
        }
        if (result == 0) {
            result = register_ring(ring_, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
        }
        if (result < 0) {
            return fail_errno(Errc::io_error, "io_uring", -result);
        }
        return {};
    }

    void start(DiskRequest& request) override {
        CW_ASSERT(request.file != nullptr && request.done != nullptr);
        if (free_slots_.empty()) {
            waiting_.push_back(&request);
            return;
        }
        take_slot(request);
        if (!polling_) {  // A callback's requests go to the kernel together, when poll() ends.
            submit();
        }
    }

    std::size_t poll() override {
        CW_ASSERT(!polling_);
        polling_ = true;
        if (evented_) {
            eventfd_t count = 0;  // Before the reaping, so that no completion is missed.
            CW_ASSERT(eventfd_read(event_.get(), &count) == 0 || errno == EAGAIN);
        }
        std::size_t finished = 0;
        std::array<io_uring_cqe*, 64> batch;
        while (const unsigned count = io_uring_peek_batch_cqe(&ring_, batch.data(), batch.size())) {
            std::array<Completion, batch.size()> completions;
            for (unsigned i = 0; i < count; ++i) {
                completions[i] = {static_cast<std::size_t>(batch[i]->user_data), batch[i]->res};
            }
            io_uring_cq_advance(&ring_, count);
            for (unsigned i = 0; i < count; ++i) {
                finished += complete(completions[i]) ? 1 : 0;
            }
        }
        polling_ = false;
        submit();
        return finished;
    }

    void wait(std::int64_t timeout_ns) override {
        submit();
        io_uring_cqe* first = nullptr;
        __kernel_timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
        const int result = timeout_ns > 0 ? io_uring_wait_cqe_timeout(&ring_, &first, &timeout)
                                          : io_uring_peek_cqe(&ring_, &first);
        CW_ASSERT(result == 0 || result == -ETIME || result == -EINTR || result == -EAGAIN);
    }

    std::size_t in_flight() const noexcept override {
        return slots_.size() - free_slots_.size() + waiting_.size();
    }
    int event_fd() const noexcept override {
        evented_ = true;
        return event_.get();
    }

private:
    struct Completion {
        std::size_t slot;
        int answer;
    };

    void take_slot(DiskRequest& request) {
        const std::size_t slot = free_slots_.back();
        free_slots_.pop_back();
        slots_[slot].begin(request);
        queue(slot);
    }

    // Puts the slot's remainder on the submission ring. There is always room: the ring has at least
    // as many entries as there are slots, and a slot has at most one entry.
    void queue(std::size_t slot) {
        const Transfer& transfer = slots_[slot];
        io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
        CW_ASSERT(entry != nullptr);
        switch (transfer.request().op) {
            case DiskOp::read:
                io_uring_prep_readv(entry, transfer.fd(), transfer.parts(), transfer.part_count(),
                                    transfer.offset());
                break;
            case DiskOp::write:
                io_uring_prep_writev2(entry, transfer.fd(), transfer.parts(), transfer.part_count(),
                                      transfer.offset(),
                                      transfer.request().durable ? RWF_DSYNC : 0);
                break;
            case DiskOp::sync:
                io_uring_prep_fsync(entry, transfer.fd(), IORING_FSYNC_DATASYNC);
                break;
        }
        entry->user_data = slot;
    }

    void submit() {
        while (io_uring_sq_ready(&ring_) > 0) {
            const int result = io_uring_submit(&ring_);
            if (result == -EAGAIN || result == -EBUSY) {
                // Short of memory for now: poll() tries again, and somebody parked on the
                // descriptor is told to call it.
                CW_ASSERT(eventfd_write(event_.get(), 1) == 0);
                return;
            }
            CW_ASSERT(result >= 0 || result == -EINTR);
        }
    }

    // True if a request is finished and its callback has run.
    bool complete(Completion completion) {
        CW_ASSERT(completion.slot < slots_.size());
        Transfer& transfer = slots_[completion.slot];
        if (!transfer.advance(completion.answer)) {
            queue(completion.slot);
            return false;
        }
        DiskRequest& request = transfer.request();
        free_slots_.push_back(completion.slot);
        if (!waiting_.empty()) {
            DiskRequest& next = *waiting_.front();
            waiting_.pop_front();
            take_slot(next);
        }
        request.done(request);
        return true;
    }

    io_uring ring_{};
    bool ready_ = false;
    bool polling_ = false;
    mutable bool evented_ = false;  // Somebody parks on event_: it must be emptied.
    Fd event_;
    std::vector<Transfer> slots_;
    std::vector<std::size_t> free_slots_;
    std::deque<DiskRequest*> waiting_;  // More than the ring holds, first come first served.
};

}  // namespace

Result<std::unique_ptr<Disk>> make_uring_disk(unsigned queue_depth) {
    auto disk = std::make_unique<UringDisk>(queue_depth);
    CW_TRY(disk->set_up());
    return disk;
}

}  // namespace cw
