#include "egress/blob/retry_queue.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace cw::blob {
namespace {

constexpr std::int64_t cut_pause_ns = ns_per_s;  // One cut per burst of failures.
const std::vector<double> latency_bounds_s{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                           1,     2.5,  5,     10,   30,  60};

}  // namespace

RetryQueue::RetryQueue(RetryShared& shared, BlobStore& inner)
    : shared_(shared),
      inner_(inner),
      window_(static_cast<double>(shared.options.concurrency_first)),
      window_most_(shared.options.concurrency_most),
      recoveries_(shared.budget.recoveries()) {
    CW_ASSERT(shared.options.concurrency_first >= 1 && window_most_ >= 1);
}

RetryQueue::~RetryQueue() {
    for (const auto& [job, owned] : jobs_) {
        if (job->told_) {
            shared_.trouble.end();
        }
    }
}

void RetryQueue::add(std::unique_ptr<RetryJob> job) {
    RetryJob* added = job.get();
    jobs_.emplace(added, std::move(job));
    ready_.push_back(added);
    pump();
}

void RetryQueue::came_back(RetryJob& job, std::string_view code, bool good) {
    CW_ASSERT(sent_ > 0);
    --sent_;
    count(job, code);
    adapt(good);
    shared_.budget.answered(good, shared_.clock.boot());
}

void RetryQueue::pause(RetryJob& job, Error error) {
    if (!job.error_) {
        job.tell_at_ = shared_.clock.boot() + shared_.options.tell_ns;
        next_tell_ = std::min(next_tell_, job.tell_at_);
    }
    job.error_ = std::move(error);
    job.repeats_ = true;
    if (job.told_) {
        shared_.trouble.again(*job.error_);
    }
    paused_.emplace(shared_.clock.boot() + jitter_ns(job.failures_++), &job);
}

bool RetryQueue::overdue(const RetryJob& job) const {
    const std::int64_t most_ns = shared_.options.give_up_ns;
    return most_ns > 0 && shared_.clock.boot() - job.began_ > most_ns;
}

void RetryQueue::end(RetryJob& job) {
    if (job.told_) {
        shared_.trouble.end();
    }
    const auto removed = jobs_.erase(&job);
    CW_ASSERT(removed == 1);
}

void RetryQueue::pump() {
    const Nanos now = shared_.clock.boot();
    if (now >= next_tell_) {
        tell(now);
    }
    if (shared_.budget.recoveries() != recoveries_) {
        go_on_after_outage(now);
    }
    while (!paused_.empty() && paused_.begin()->first <= now) {
        ready_.push_back(paused_.begin()->second);
        paused_.erase(paused_.begin());
    }
    while (!ready_.empty() && sent_ < static_cast<std::size_t>(window_)) {
        RetryJob& job = *ready_.front();
        ready_.pop_front();
        if (job.repeats_ && !std::exchange(job.free_, false) && !shared_.budget.take(now)) {
            // Not a failure of its own: the pause does not grow, but it must not spin either.
            paused_.emplace(now + ns_per_ms + jitter_ns(0), &job);
            continue;
        }
        if (!job.repeats_) {
            shared_.budget.first_attempt();
        }
        job.sent_ = now;
        ++sent_;
        job.send(inner_);
    }
}

std::int64_t RetryQueue::until_due_ns(std::int64_t timeout_ns) const {
    if (paused_.empty()) {
        return timeout_ns;
    }
    const Nanos due = std::min(paused_.begin()->first, next_tell_);
    return std::clamp<std::int64_t>(due - shared_.clock.boot(), 0, timeout_ns);
}

// Everything that waits gets its turn within the first pause, and the window sees to the rest.
void RetryQueue::go_on_after_outage(Nanos now) {
    recoveries_ = shared_.budget.recoveries();
    std::multimap<Nanos, RetryJob*> sooner;
    for (const auto& [due, job] : paused_) {
        sooner.emplace(std::min(due, now + jitter_ns(0)), job);
    }
    paused_.swap(sooner);
    for (const auto& [job, owned] : jobs_) {
        job->free_ = job->repeats_;
    }
}

// Somebody should know of the jobs that have kept failing for long enough.
void RetryQueue::tell(Nanos now) {
    next_tell_ = Nanos{INT64_MAX};
    for (const auto& [job, owned] : jobs_) {
        if (!job->error_ || job->told_) {
            continue;
        }
        if (job->tell_at_ > now) {
            next_tell_ = std::min(next_tell_, job->tell_at_);
            continue;
        }
        job->told_ = true;
        shared_.trouble.begin(*job->error_);
    }
}

void RetryQueue::set_concurrency(std::size_t operations) {
    window_most_ = std::max<std::size_t>(operations, 1);
    window_ = std::min(window_, static_cast<double>(window_most_));
}

void RetryQueue::count(const RetryJob& job, std::string_view code) {
    Counter*& counter = counters_[{job.op_, std::string(code)}];
    if (counter == nullptr) {
        counter =
            &shared_.metrics.counter("causeway_blob_requests_total",
                                     {{"op", std::string(job.op_)}, {"code", std::string(code)}});
    }
    counter->add(1);
    Histogram*& histogram = histograms_[job.op_];
    if (histogram == nullptr) {
        histogram = &shared_.metrics.histogram("causeway_blob_latency_seconds", latency_bounds_s,
                                               {{"op", std::string(job.op_)}});
    }
    histogram->observe(static_cast<double>(shared_.clock.boot() - job.sent_) /
                       static_cast<double>(ns_per_s));
}

// Additive increase, multiplicative decrease, as TCP does: the store's limits are not known.
void RetryQueue::adapt(bool good) {
    if (good) {
        window_ = std::min(window_ + 1 / window_, static_cast<double>(window_most_));
        return;
    }
    const Nanos now = shared_.clock.boot();
    if (now - window_cut_ >= cut_pause_ns) {
        window_ = std::max(window_ / 2, 1.0);
        window_cut_ = now;
    }
}

// Full jitter: uniform between nothing and the doubled pause, so that failures spread out.
std::int64_t RetryQueue::jitter_ns(unsigned failures) {
    const RetryOptions& options = shared_.options;
    const double doubled =
        static_cast<double>(options.pause_first_ns) * std::exp2(std::min(failures, 20U));
    const auto most =
        static_cast<std::uint64_t>(std::min(doubled, static_cast<double>(options.pause_most_ns)));
    return static_cast<std::int64_t>(shared_.random.below(most + 1));
}

}  // namespace cw::blob
