// Which operations of a RetryStore may be on their way, and when the others get their turn.
#pragma once

#include "base/random.h"
#include "egress/blob/retry_store.h"
#include "egress/blob/retry_trouble.h"

#include <deque>
#include <map>
#include <string>

namespace cw::blob {

// What the stores of one factory share.
struct RetryShared {
    RetryShared(const RetryOptions& o, Clock& c, Random& r, MetricRegistry& m)
        : options(o),
          clock(c),
          random(r),
          metrics(m),
          budget(o.budget, c.boot()),
          trouble(o.conditions) {}

    const RetryOptions options;
    Clock& clock;
    Random& random;
    MetricRegistry& metrics;
    RetryBudget budget;
    RetryTrouble trouble;
};

// One operation from its start to its callback.
class RetryJob {
public:
    explicit RetryJob(std::string_view op, Nanos began) : op_(op), began_(began) {}
    virtual ~RetryJob() = default;
    RetryJob(const RetryJob&) = delete;
    RetryJob& operator=(const RetryJob&) = delete;
    // Starts one request on `inner`; its callback ends in RetryQueue::finished() or pause().
    virtual void send(BlobStore& inner) = 0;

    [[nodiscard]] std::string_view op() const noexcept { return op_; }
    [[nodiscard]] Nanos began() const noexcept { return began_; }

private:
    friend class RetryQueue;
    const std::string_view op_;
    const Nanos began_;
    Nanos sent_{0};
    unsigned failures_ = 0;
    bool repeats_ = false;        // The next request is an extra one.
    bool free_ = false;           // But an outage has ended since: it counts for nothing.
    std::optional<Error> error_;  // Of the last failure, once there was one.
    Nanos tell_at_{0};            // When a person should know that it keeps failing.
    bool told_ = false;
};

// Thread-safety: none, like the store it belongs to.
class RetryQueue {
public:
    RetryQueue(RetryShared& shared, BlobStore& inner);
    ~RetryQueue();  // What is in trouble is nobody's any more.
    RetryQueue(const RetryQueue&) = delete;
    RetryQueue& operator=(const RetryQueue&) = delete;

    void add(std::unique_ptr<RetryJob> job);
    // The request of `job` came back: counts it under `code` ("ok" or the error's name) and lets
    // the window follow. Every request ends here before pause() or end().
    void came_back(RetryJob& job, std::string_view code, bool good);
    // Sends `job`, which has failed with `error`, again after a pause.
    void pause(RetryJob& job, Error error);
    // True if the operation has taken longer than it may.
    [[nodiscard]] bool overdue(const RetryJob& job) const;
    // The job is over. Destroys it.
    void end(RetryJob& job);

    // Sends what is due and allowed.
    void pump();
    // How long until something is due, at most `timeout_ns`.
    [[nodiscard]] std::int64_t until_due_ns(std::int64_t timeout_ns) const;
    [[nodiscard]] std::size_t size() const noexcept { return jobs_.size(); }
    void set_concurrency(std::size_t operations);

private:
    void count(const RetryJob& job, std::string_view code);
    void adapt(bool good);
    void tell(Nanos now);
    void go_on_after_outage(Nanos now);
    std::int64_t jitter_ns(unsigned failures);

    RetryShared& shared_;
    BlobStore& inner_;
    std::map<RetryJob*, std::unique_ptr<RetryJob>> jobs_;
    std::deque<RetryJob*> ready_;
    std::multimap<Nanos, RetryJob*> paused_;
    std::size_t sent_ = 0;
    double window_;
    std::size_t window_most_;
    Nanos window_cut_{0};
    std::uint64_t recoveries_;    // Of the shared budget, as far as they were acted upon.
    Nanos next_tell_{INT64_MAX};  // Not later than the first job's turn to be told of.
    std::map<std::pair<std::string_view, std::string>, Counter*> counters_;
    std::map<std::string_view, Histogram*> histograms_;
};

}  // namespace cw::blob
