// Fetcher: ranges of objects, several in flight, with bounded retries. The one place of the read
// path that knows that a store may be busy.
//
// Thread-safety: none; belongs to the store's thread. Lifetime: the store outlives it; destruction
// waits for what is in flight.
#pragma once

#include "egress/blob/store.h"

#include <cstddef>
#include <deque>

namespace cw::recovery {

class Fetcher {
public:
    // `in_flight_max` >= 1: download_threads_per_vm.
    Fetcher(blob::BlobStore& store, std::size_t in_flight_max);
    ~Fetcher();
    Fetcher(const Fetcher&) = delete;
    Fetcher& operator=(const Fetcher&) = delete;

    // Exactly `length` > 0 bytes at `offset`; `done` runs inside a later poll(). Errors: those of
    // get, with the object's name; object_corrupt when the object ends before.
    void fetch(blob::BlobName name, std::uint64_t offset, std::uint64_t length,
               blob::Done<Result<ByteVector>> done);
    std::size_t poll();
    // At most `timeout_ns`.
    void wait(std::int64_t timeout_ns) { store_.wait(timeout_ns, -1); }
    [[nodiscard]] bool idle() const noexcept { return queue_.empty() && in_flight_ == 0; }
    [[nodiscard]] std::uint64_t bytes_fetched() const noexcept { return bytes_; }
    [[nodiscard]] std::uint64_t requests() const noexcept { return requests_; }

private:
    struct Job {
        blob::BlobName name;
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        blob::Done<Result<ByteVector>> done;
        unsigned attempts = 0;
    };
    void start_some();
    void finished(Job job, Result<blob::GetResult> got);

    blob::BlobStore& store_;
    std::size_t in_flight_max_;
    std::size_t in_flight_ = 0;
    std::deque<Job> queue_;
    std::uint64_t bytes_ = 0;
    std::uint64_t requests_ = 0;
    bool closing_ = false;
};

inline constexpr std::int64_t fetch_wait_slice_ns = 100'000'000;

}  // namespace cw::recovery
