#include "egress/blob/retry_put.h"

#include "egress/blob/common.h"

#include <algorithm>

namespace cw::blob {
namespace {

bool may_retry(Errc code) {
    const Action action = action_of(code);
    return action == Action::retry || action == Action::throttle;
}

std::string_view value_of(const Metadata& metadata, std::string_view key) noexcept {
    const auto found = std::ranges::find(metadata, key, &Metadata::value_type::first);
    return found == metadata.end() ? std::string_view{} : std::string_view(found->second);
}

}  // namespace

RetryPut::RetryPut(RetryQueue& queue, PutRequest request, Done<PutResult> done, Nanos began)
    : RetryJob("put", began), queue_(queue), request_(std::move(request)), done_(std::move(done)) {}

void RetryPut::send(BlobStore& inner) {
    if (phase_ == Phase::put) {
        inner.put(request_, [this](PutResult result) { put_done(std::move(result)); });
    } else {
        inner.head(request_.name, [this](Result<BlobProperties> found) { read_back_done(found); });
    }
}

void RetryPut::put_done(PutResult result) {
    const Error error = result.error.value_or(Error{Errc::blob_unavailable, "no answer"});
    switch (result.outcome) {
        case PutOutcome::stored:
            queue_.came_back(*this, "ok", true);
            return finish(std::move(result));
        case PutOutcome::unknown:
            queue_.came_back(*this, "UNKNOWN", false);
            in_doubt_ = true;
            if (nonce().empty()) {
                return finish(std::move(result));
            }
            return retry(Phase::read_back, error);
        case PutOutcome::refused:
            break;
    }
    queue_.came_back(*this, name_of(error.code), !may_retry(error.code));
    if (error.code == Errc::blob_conflict && !nonce().empty() &&
        request_.condition != PutCondition::none) {
        conflict_ = error;  // Is what is there our own earlier attempt?
        return retry(Phase::read_back, error);
    }
    // Once may be the way there; twice it is the memory here, of which only the writer knows
    // better.
    const bool stale =
        error.code == Errc::blob_checksum && request_.crc64 && std::exchange(mismatched_, true);
    if (may_retry(error.code) && !stale) {
        return retry(Phase::put, error);
    }
    finish(std::move(result));
}

void RetryPut::read_back_done(const Result<BlobProperties>& found) {
    const bool good = found || !may_retry(found.error().code);
    queue_.came_back(*this, found ? "ok" : name_of(found.error().code), good);
    if (found && is_ours(*found)) {
        return finish(stored(found->etag));
    }
    if (!found && found.error().code != Errc::blob_not_found) {
        if (may_retry(found.error().code)) {
            return retry(Phase::read_back, found.error());
        }
        in_doubt_ = true;
        return finish({PutOutcome::unknown, {}, found.error()});
    }
    if (conflict_) {
        in_doubt_ = false;  // Somebody else's object stands there: ours can only lose.
        return finish({PutOutcome::refused, {}, conflict_});
    }
    const bool untouched =
        !found || request_.condition == PutCondition::none ||
        (request_.condition == PutCondition::if_match && found->etag == request_.etag);
    if (untouched) {
        return retry(Phase::put, Error{Errc::blob_unavailable, "the put was not applied"});
    }
    in_doubt_ = false;
    finish(refused(Errc::blob_conflict, to_string(request_.name) + " is another's"));
}

void RetryPut::retry(Phase phase, Error error) {
    if (queue_.overdue(*this)) {
        return finish({PutOutcome::refused, {}, std::move(error)});
    }
    phase_ = phase;
    queue_.pause(*this, std::move(error));
}

void RetryPut::finish(PutResult result) {
    if (result.outcome == PutOutcome::refused && in_doubt_) {
        result.outcome = PutOutcome::unknown;  // An earlier attempt may still land.
    }
    const Done<PutResult> done = done_;
    queue_.end(*this);  // `this` is gone.
    done(std::move(result));
}

std::string_view RetryPut::nonce() const noexcept {
    return value_of(request_.metadata, nonce_key);
}

bool RetryPut::is_ours(const BlobProperties& found) const {
    return value_of(found.metadata, nonce_key) == nonce() &&
           found.size == total_bytes(request_.body);
}

}  // namespace cw::blob
