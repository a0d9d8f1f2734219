#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "ingest/poller.h"

#include <cerrno>
#include <unordered_map>
#include <vector>

#include <poll.h>

namespace cw::ingest {
namespace {

// Costs a scan of all descriptors per wait: meant for a few hundred connections.
class PlainPoller final : public Poller {
public:
    void arm(int fd, std::uint64_t token, bool for_write) override {
        CW_ASSERT(token != 0 && fd >= 0);
        Watch& watch = watches_[token];
        watch.fd = fd;
        watch.events |= for_write ? POLLOUT : POLLIN;
    }

    void disarm(std::uint64_t token) override { watches_.erase(token); }

    std::size_t wait(std::span<PollEvent> events, std::int64_t timeout_ns) override {
        polled_.clear();
        tokens_.clear();
        for (const auto& [token, watch] : watches_) {
            polled_.push_back({watch.fd, watch.events, 0});
            tokens_.push_back(token);
        }
        const timespec timeout{.tv_sec = timeout_ns / ns_per_s, .tv_nsec = timeout_ns % ns_per_s};
        const int ready = ::ppoll(polled_.data(), polled_.size(), &timeout, nullptr);
        CW_ASSERT(ready >= 0 || errno == EINTR);
        std::size_t count = 0;
        for (std::size_t i = 0; ready > 0 && i < polled_.size(); ++i) {
            count += take(tokens_[i], polled_[i], events.subspan(count));
        }
        return count;
    }

private:
    struct Watch {
        int fd = -1;
        short events = 0;
    };

    // Reports what fired of one descriptor, as far as there is room; the rest stays armed.
    std::size_t take(std::uint64_t token, const pollfd& polled, std::span<PollEvent> events) {
        std::size_t count = 0;
        Watch& watch = watches_.at(token);
        for (const short interest : {short{POLLIN}, short{POLLOUT}}) {
            const bool fired = (polled.revents & (interest | POLLERR | POLLHUP | POLLNVAL)) != 0;
            if ((watch.events & interest) != 0 && fired && count < events.size()) {
                events[count++] = {token, interest == POLLOUT};
                watch.events = static_cast<short>(watch.events & ~interest);
            }
        }
        if (watch.events == 0) {
            watches_.erase(token);
        }
        return count;
    }

    std::unordered_map<std::uint64_t, Watch> watches_;
    std::vector<pollfd> polled_;
    std::vector<std::uint64_t> tokens_;
};

}  // namespace

std::unique_ptr<Poller> make_plain_poller() {
    return std::make_unique<PlainPoller>();
}

std::unique_ptr<Poller> make_poller(bool use_uring) {
    if (use_uring) {
        auto poller = make_uring_poller();
        if (poller) {
            return std::move(*poller);
        }
        log_info("ingest.poller.plain", {{"why", poller.error()}});
    }
    return make_plain_poller();
}

}  // namespace cw::ingest
