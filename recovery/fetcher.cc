#include "recovery/fetcher.h"

#include "base/assert.h"

#include <memory>

namespace cw::recovery {
namespace {

// The store has retries of its own, with pauses; these ride over what outlasts them.
constexpr unsigned attempts_max = 4;

bool worth_another_try(const Error& error) {
    const Action action = action_of(error.code);
    return action == Action::retry || action == Action::throttle;
}

}  // namespace

Fetcher::Fetcher(blob::BlobStore& store, std::size_t in_flight_max)
    : store_(store), in_flight_max_(in_flight_max) {
    CW_ASSERT(in_flight_max >= 1);
    store_.set_concurrency(in_flight_max);
}

Fetcher::~Fetcher() {
    closing_ = true;
    queue_.clear();
    while (in_flight_ > 0) {  // Their callbacks know this object; every operation ends.
        store_.wait(fetch_wait_slice_ns, -1);
        store_.poll();
    }
}

void Fetcher::fetch(blob::BlobName name, std::uint64_t offset, std::uint64_t length,
                    blob::Done<Result<ByteVector>> done) {
    CW_ASSERT(length > 0);
    queue_.push_back({std::move(name), offset, length, std::move(done)});
    start_some();
}

std::size_t Fetcher::poll() {
    const std::size_t count = store_.poll();
    start_some();
    return count;
}

void Fetcher::start_some() {
    while (!queue_.empty() && in_flight_ < in_flight_max_) {
        auto job = std::make_shared<Job>(std::move(queue_.front()));
        queue_.pop_front();
        ++in_flight_;
        ++requests_;
        ++job->attempts;
        // Shared only because std::function copies its captures; the callback is the sole user.
        store_.get({.name = job->name, .offset = job->offset, .length = job->length},
                   [this, job](Result<blob::GetResult> got) {
                       finished(std::move(*job), std::move(got));
                   });
    }
}

void Fetcher::finished(Job job, Result<blob::GetResult> got) {
    --in_flight_;
    if (closing_) {
        return;
    }
    if (!got) {
        if (worth_another_try(got.error()) && job.attempts < attempts_max) {
            queue_.push_back(std::move(job));
            return;
        }
        Error error = std::move(got).error();
        error.detail = to_string(job.name) + (error.detail.empty() ? "" : ": " + error.detail);
        job.done(std::unexpected(std::move(error)));
        return;
    }
    bytes_ += got->bytes.size();
    if (got->bytes.size() != job.length) {
        job.done(fail(Errc::object_corrupt, to_string(job.name) + ": ends at byte " +
                                                std::to_string(got->properties.size) +
                                                ", wanted up to " +
                                                std::to_string(job.offset + job.length)));
        return;
    }
    job.done(std::move(got->bytes));
}

}  // namespace cw::recovery
