// Requests to a page blob until the service has taken them, several at once: what a disk's upload
// outlives an unavailable or throttling service by.
//
// - What fails for a while is asked again, as long as it takes: pauses grow with full jitter, and
//   the store itself waits for as long as a Retry-After says.
// - The requests in flight follow what the service bears: one more after each round that went well,
//   half after a failure or a late answer. A page blob that is throttled answers late, or with 500
//   OperationTimedOut, rather than with 503.
// - It is given up after `give_up_ns` without a single request that went well.
//
// Thread-safety: none; belongs to the thread of the store.
#pragma once

#include "base/random.h"
#include "egress/blob/page_blob.h"

#include <functional>
#include <list>
#include <utility>

namespace cw::recovery {

struct PageRetry {
    std::int64_t pause_first_ns = 500 * ns_per_ms;  // Doubles with every failure of a request.
    std::int64_t pause_most_ns = 30 * ns_per_s;
    std::int64_t give_up_ns = 15 * 60 * ns_per_s;
    // Instead, as long as nothing ever went well: an address may be wrong, and nothing is lost yet.
    std::int64_t give_up_first_ns = 120 * ns_per_s;
    std::int64_t slow_ns = 10 * ns_per_s;  // A later answer means that too much is asked at once.
    std::int64_t tell_ns = 2 * ns_per_s, tell_again_ns = 30 * ns_per_s;
};

struct PageRequestOptions {
    PageRetry retry = {};
    std::size_t in_flight_max = 4;
    std::function<bool()> cancelled = {};
    std::function<void()> waiting = {};  // Some ten times a second, whatever is waited for.
    // Nothing has gone well for so long; every `tell_again_ns` while that lasts.
    std::function<void(const Error& last, std::int64_t ns)> trouble = {};
};

class PageRequests {
public:
    // `store`, `clock` and `random` outlive this.
    PageRequests(blob::PageBlobStore& store, Clock& clock, Random& random,
                 PageRequestOptions options);
    ~PageRequests();  // Waits for what is in flight: it borrows what is kept here.
    PageRequests(const PageRequests&) = delete;
    PageRequests& operator=(const PageRequests&) = delete;

    // Returns when there is room for the request. The bytes are copied; errors may be those of an
    // earlier one: of the store, cancelled.
    Result<void> write(const blob::PageWrite& request);
    Result<void> clear(const blob::PageClear& request);
    // Until all of them are done.
    Result<void> finish();

    template <typename T>
    using Attempt = std::function<Result<T>()>;
    // One thing that is waited for, tried again like the others.
    template <typename T>
    Result<T> insist(const Attempt<T>& attempt) {
        for (unsigned failures = 0;; ++failures) {
            Result<T> result = attempt();
            if (result) {
                went_well();
                return result;
            }
            CW_TRY(judge(result.error()));
            CW_TRY(pause(jitter_ns(failures)));
        }
    }
    // The same of one request to the store: `send(done)`.
    template <typename T, typename Send>
    Result<T> ask(const Send& send) {
        return insist<T>([&] {
            std::optional<Result<T>> result;
            send([&result](Result<T> done) { result.emplace(std::move(done)); });
            while (!result) {
                look();
            }
            return std::move(*result);
        });
    }

private:
    struct Job {
        blob::PageClear range;  // Cleared, if it has no bytes.
        ByteVector bytes;
        unsigned failures = 0;
        bool in_flight = false;
        Nanos due{}, sent{};
        std::optional<Result<void>> result;
    };

    Result<Job*> enter(const blob::PageClear& range);
    void start(Job& job);
    void look();
    Result<void> step();
    Result<void> judge(const Error& error);
    Result<void> pause(std::int64_t ns);
    Result<void> not_cancelled() const;
    void went_well() noexcept;
    void adapt(bool good);
    std::int64_t jitter_ns(unsigned failures);

    blob::PageBlobStore& store_;
    Clock& clock_;
    Random& random_;
    const PageRequestOptions options_;
    std::list<Job> jobs_;  // At most in_flight_max; they stay where they are.
    std::size_t in_flight_ = 0;
    double window_;
    Nanos window_cut_{};
    bool ever_well_ = false;
    std::optional<Nanos> failing_since_;  // The first failure since something went well.
    Nanos tell_at_{};
};

}  // namespace cw::recovery
