#include "base/assert.h"
#include "base/clock.h"
#include "ingest/poller.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <unordered_map>

#include <liburing.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace cw::ingest {
namespace {

constexpr unsigned submissions = 256, completions = 8192;
constexpr std::uint64_t removal = 0;  // User data of requests whose outcome nobody needs.

// Debian's liburing declares wrappers for these operations but does not export them.
int register_ring(const io_uring& ring, unsigned operation, void* argument, unsigned count) {
    const long result = syscall(__NR_io_uring_register, ring.ring_fd, operation, argument, count);
    return result < 0 ? -errno : 0;
}

// seccomp does not see what goes through a ring, so the ring itself permits only waiting.
int restrict_ring(const io_uring& ring) {
    constexpr std::array<std::uint8_t, 3> allowed{IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE,
                                                  IORING_OP_TIMEOUT};
    std::array<io_uring_restriction, allowed.size()> rules{};
    for (std::size_t i = 0; i < rules.size(); ++i) {
        rules[i].opcode = IORING_RESTRICTION_SQE_OP;
        rules[i].sqe_op = allowed[i];
    }
    const int result =
        register_ring(ring, IORING_REGISTER_RESTRICTIONS, rules.data(), rules.size());
    return result == 0 ? register_ring(ring, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) : result;
}

class UringPoller final : public Poller {
public:
    UringPoller() = default;
    ~UringPoller() override {
        if (ready_) {
            io_uring_queue_exit(&ring_);
        }
    }
    UringPoller(const UringPoller&) = delete;
    UringPoller& operator=(const UringPoller&) = delete;

    Result<void> set_up() {
        // Completions are worked off in our own calls, not by interrupting this thread; kernels
        // before 5.19 do not know that.
        constexpr unsigned wanted = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
        for (const unsigned extra : {unsigned{IORING_SETUP_COOP_TASKRUN}, 0U}) {
            io_uring_params params{};
            params.flags = wanted | extra;
            params.cq_entries = completions;
            const int result = io_uring_queue_init_params(submissions, &ring_, &params);
            if (result == -EINVAL && extra != 0) {
                continue;
            }
            if (result < 0) {
                return fail_errno(Errc::io_error, "io_uring", -result);
            }
            break;
        }
        ready_ = true;
        if (const int result = restrict_ring(ring_); result < 0) {
            return fail_errno(Errc::io_error, "io_uring restrictions", -result);
        }
        return {};
    }

    void arm(int fd, std::uint64_t token, bool for_write) override {
        CW_ASSERT(token != 0 && fd >= 0);
        Armed& armed = armed_[token];
        bool& flag = for_write ? armed.write : armed.read;
        if (flag) {
            return;
        }
        flag = true;
        io_uring_sqe* sqe = next_sqe();
        io_uring_prep_poll_add(sqe, fd, for_write ? POLLOUT : POLLIN);
        io_uring_sqe_set_data64(sqe, data_of(token, for_write));
    }

    // The request keeps the socket open in the kernel until it is removed: removal goes out with
    // the next wait.
    void disarm(std::uint64_t token) override {
        const auto it = armed_.find(token);
        if (it == armed_.end()) {
            return;
        }
        for (const bool for_write : {false, true}) {
            if (for_write ? it->second.write : it->second.read) {
                io_uring_sqe* sqe = next_sqe();
                io_uring_prep_poll_remove(sqe, data_of(token, for_write));
                io_uring_sqe_set_data64(sqe, removal);
            }
        }
        armed_.erase(it);
    }

    std::size_t wait(std::span<PollEvent> events, std::int64_t timeout_ns) override {
        std::size_t count = reap(events);
        if (count > 0) {
            timeout_ns = 0;
        }
        __kernel_timespec timeout{.tv_sec = timeout_ns / ns_per_s,
                                  .tv_nsec = timeout_ns % ns_per_s};
        io_uring_cqe* first = nullptr;
        const int result = timeout_ns == 0 ? io_uring_submit(&ring_)
                                           : io_uring_submit_and_wait_timeout(&ring_, &first, 1,
                                                                              &timeout, nullptr);
        CW_ASSERT(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
                  result == -EBUSY);
        return count + reap(events.subspan(count));
    }

private:
    struct Armed {
        bool read = false, write = false;
    };
    static std::uint64_t data_of(std::uint64_t token, bool for_write) noexcept {
        return token << 1 | (for_write ? 1 : 0);
    }

    io_uring_sqe* next_sqe() {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        while (sqe == nullptr) {  // The queue is full: hand it over, and there is room again.
            const int result = io_uring_submit(&ring_);
            CW_ASSERT(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
            sqe = io_uring_get_sqe(&ring_);
        }
        return sqe;
    }

    std::size_t reap(std::span<PollEvent> events) {
        std::size_t count = 0;
        unsigned seen = 0;
        unsigned head = 0;
        io_uring_cqe* cqe = nullptr;
        io_uring_for_each_cqe(&ring_, head, cqe) {
            if (count == events.size()) {
                break;
            }
            ++seen;
            const std::uint64_t token = cqe->user_data >> 1;
            const bool for_write = (cqe->user_data & 1) != 0;
            const auto it = armed_.find(token);
            if (cqe->user_data == removal || it == armed_.end() || cqe->res == -ECANCELED) {
                continue;
            }
            (for_write ? it->second.write : it->second.read) = false;
            if (!it->second.read && !it->second.write) {
                armed_.erase(it);
            }
            events[count++] = {token, for_write};
        }
        io_uring_cq_advance(&ring_, seen);
        return count;
    }

    io_uring ring_{};
    bool ready_ = false;
    std::unordered_map<std::uint64_t, Armed> armed_;
};

}  // namespace

Result<std::unique_ptr<Poller>> make_uring_poller() {
    auto poller = std::make_unique<UringPoller>();
    CW_TRY(poller->set_up());
    return poller;
}

}  // namespace cw::ingest
