// A put that is repeated until its outcome is certain.
#pragma once

#include "egress/blob/retry_queue.h"

namespace cw::blob {

class RetryPut final : public RetryJob {
public:
    RetryPut(RetryQueue& queue, PutRequest request, Done<PutResult> done, Nanos began);
    void send(BlobStore& inner) override;

private:
    enum class Phase : std::uint8_t { put, read_back };

    void put_done(PutResult result);
    void read_back_done(const Result<BlobProperties>& found);
    void retry(Phase phase, Error error);
    void finish(PutResult result);
    [[nodiscard]] std::string_view nonce() const noexcept;
    [[nodiscard]] bool is_ours(const BlobProperties& found) const;

    RetryQueue& queue_;
    const PutRequest request_;
    const Done<PutResult> done_;
    Phase phase_ = Phase::put;
    bool in_doubt_ = false;          // An attempt may have been applied, or may be later.
    bool mismatched_ = false;        // The bytes were refused as others than the writer's once.
    std::optional<Error> conflict_;  // Reading back because of this refusal, not of doubt.
};

}  // namespace cw::blob
