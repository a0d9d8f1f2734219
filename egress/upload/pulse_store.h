// PulseStore: a store that tells how the thread that uses it is: when it last asked or waited, and
// whether it is inside the store right now. Whoever reads a whole chain with blocking calls
// completes no round for long and is alive; whoever waits in the kernel for a directory's disk or
// file server has met an outage of the vault, not a deadlock.
//
// Thread-safety: sign() from any thread; the rest is the inner store's.
#pragma once

#include "base/clock.h"
#include "egress/blob/store.h"
#include "egress/upload/status.h"

#include <atomic>
#include <memory>

namespace cw::upload {

class PulseStore final : public blob::BlobStore {
public:
    PulseStore(std::unique_ptr<blob::BlobStore> inner, Clock& clock);
    [[nodiscard]] SignOfLife sign() const noexcept {
        return {.at = Nanos{beat_.load()}, .in_store = inside_.load()};
    }

    void put(blob::PutRequest request, blob::Done<blob::PutResult> done) override;
    void get(blob::GetRequest request, blob::Done<Result<blob::GetResult>> done) override;
    void head(blob::BlobName name, blob::Done<Result<blob::BlobProperties>> done) override;
    void list(blob::Container container, std::string prefix, std::string marker,
              blob::Done<Result<blob::ListPage>> done) override;
    void remove(blob::BlobName name, blob::Done<Result<void>> done) override;
    void create_containers(blob::Done<Result<void>> done) override;
    std::size_t poll() override;
    void wait(std::int64_t timeout_ns, int wake_fd) override;
    [[nodiscard]] std::size_t in_flight() const noexcept override { return inner_->in_flight(); }
    void set_concurrency(std::size_t operations) override { inner_->set_concurrency(operations); }

private:
    // Calls may nest: a callback, which is its owner's code, starts the next operation.
    class Passage;
    template <typename Value>
    blob::Done<Value> outside(blob::Done<Value> done);

    std::unique_ptr<blob::BlobStore> inner_;
    Clock& clock_;
    std::atomic<std::int64_t> beat_{0};
    std::atomic<bool> inside_{false};
};

}  // namespace cw::upload
