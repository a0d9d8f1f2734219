#include "recovery/page_requests.h"

#include "base/assert.h"

#include <algorithm>
#include <cmath>

namespace cw::recovery {
namespace {

constexpr std::int64_t look_ns = 100 * ns_per_ms;
constexpr std::int64_t cut_pause_ns = ns_per_s;  // One cut per burst of failures.

}  // namespace

PageRequests::PageRequests(blob::PageBlobStore& store, Clock& clock, Random& random,
                           PageRequestOptions options)
    : store_(store),
      clock_(clock),
      random_(random),
      options_(std::move(options)),
      window_(static_cast<double>(options_.in_flight_max)) {
    CW_ASSERT(options_.in_flight_max >= 1);
}

PageRequests::~PageRequests() {
    while (in_flight_ > 0) {
        store_.wait(look_ns);
        store_.poll();
    }
}

Result<void> PageRequests::write(const blob::PageWrite& request) {
    CW_TRY_ASSIGN(Job* const job,
                  enter({request.blob, request.offset, request.bytes.size(), request.sequence}));
    job->bytes.assign(request.bytes.begin(), request.bytes.end());
    return step();
}

Result<void> PageRequests::clear(const blob::PageClear& request) {
    CW_TRY(enter(request));
    return step();
}

Result<void> PageRequests::finish() {
    while (!jobs_.empty()) {
        look();
        CW_TRY(step());
    }
    return {};
}

Result<PageRequests::Job*> PageRequests::enter(const blob::PageClear& range) {
    while (jobs_.size() >= options_.in_flight_max) {
        look();
        CW_TRY(step());
    }
    Job& job = jobs_.emplace_back();
    job.range = range;
    return &job;
}

void PageRequests::start(Job& job) {
    ++in_flight_;
    job.in_flight = true;
    job.sent = clock_.boot();
    // What is unknown may be asked again: the same bytes come to the same place.
    auto done = [this, &job](blob::PutResult result) {
        --in_flight_;
        job.in_flight = false;
        CW_ASSERT(result.outcome == blob::PutOutcome::stored || result.error.has_value());
        job.result.emplace(result.outcome == blob::PutOutcome::stored
                               ? Result<void>{}
                               : std::unexpected(std::move(*result.error)));
    };
    if (job.bytes.empty()) {
        store_.clear(job.range, std::move(done));
    } else {
        store_.write({job.range.blob, job.range.offset, job.bytes, job.range.sequence},
                     std::move(done));
    }
}

// Waits for a moment. Job results are only noted: step() acts on them.
void PageRequests::look() {
    std::int64_t wait_ns = look_ns;
    const Nanos now = clock_.boot();
    for (const Job& job : jobs_) {
        if (!job.in_flight && job.due - now > 0) {
            wait_ns = std::min(wait_ns, job.due - now);
        }
    }
    store_.wait(wait_ns);
    store_.poll();
    if (options_.waiting) {
        options_.waiting();
    }
}

// Acts on what came back and sends what is due and allowed.
Result<void> PageRequests::step() {
    CW_TRY(not_cancelled());
    for (auto job = jobs_.begin(); job != jobs_.end();) {
        const auto result = std::exchange(job->result, std::nullopt);
        if (result && *result) {
            went_well();
            adapt(clock_.boot() - job->sent < options_.retry.slow_ns);
            job = jobs_.erase(job);
            continue;
        }
        if (result) {
            CW_TRY(judge(result->error()));
            adapt(false);
            job->due = clock_.boot() + jitter_ns(job->failures++);
        }
        ++job;
    }
    for (Job& job : jobs_) {
        if (!job.in_flight && job.due - clock_.boot() <= 0 &&
            in_flight_ < static_cast<std::size_t>(window_)) {
            start(job);
        }
    }
    return {};
}

// Whether what failed so may be asked again.
Result<void> PageRequests::judge(const Error& error) {
    const Action action = action_of(error.code);
    if (action != Action::retry && action != Action::throttle) {
        return std::unexpected(error);
    }
    const PageRetry& retry = options_.retry;
    const Nanos now = clock_.boot();
    if (!failing_since_) {
        failing_since_ = now;
        tell_at_ = now + retry.tell_ns;
    }
    const std::int64_t ns = now - *failing_since_;
    if (ns >=
        (ever_well_ ? retry.give_up_ns : std::min(retry.give_up_ns, retry.give_up_first_ns))) {
        return fail(error.code, error.detail + "; given up: every try of the last " +
                                    std::to_string(ns / ns_per_s) + " s has failed");
    }
    if (now - tell_at_ >= 0 && options_.trouble) {
        tell_at_ = now + retry.tell_again_ns;
        options_.trouble(error, ns);
    }
    return {};
}

Result<void> PageRequests::pause(std::int64_t ns) {
    const Nanos until = clock_.boot() + ns;
    while (until - clock_.boot() > 0) {
        CW_TRY(not_cancelled());
        store_.wait(std::min(look_ns, std::max<std::int64_t>(until - clock_.boot(), 0)));
        store_.poll();
        if (options_.waiting) {
            options_.waiting();
        }
    }
    return not_cancelled();
}

Result<void> PageRequests::not_cancelled() const {
    return options_.cancelled && options_.cancelled()
               ? fail(Errc::cancelled, "before the disk was whole")
               : Result<void>{};
}

void PageRequests::went_well() noexcept {
    ever_well_ = true;
    failing_since_.reset();
}

// Additive increase, multiplicative decrease: what the service bears is not known.
void PageRequests::adapt(bool good) {
    if (good) {
        window_ = std::min(window_ + 1 / window_, static_cast<double>(options_.in_flight_max));
        return;
    }
    const Nanos now = clock_.boot();
    if (now - window_cut_ >= cut_pause_ns) {
        window_ = std::max(window_ / 2, 1.0);
        window_cut_ = now;
    }
}

// Full jitter: uniform between nothing and the doubled pause, so that failures spread out.
std::int64_t PageRequests::jitter_ns(unsigned failures) {
    const double doubled = static_cast<double>(options_.retry.pause_first_ns) *
                           std::exp2(static_cast<double>(std::min(failures, 20U)));
    const double most = std::min(doubled, static_cast<double>(options_.retry.pause_most_ns));
    return static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(most) + 1));
}

}  // namespace cw::recovery
