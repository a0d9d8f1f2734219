#include "egress/vault/object_fetch.h"

namespace cw::vault {
namespace {

constexpr std::size_t in_flight_max = 16;
constexpr std::int64_t wait_slice_ns = 100 * ns_per_ms;

}  // namespace

std::unexpected<Error> about(const blob::BlobName& name, Error error) {
    error.detail = to_string(name) + (error.detail.empty() ? "" : ": ") + error.detail;
    return std::unexpected(std::move(error));
}

Result<void> ObjectFetch::run(std::uint64_t from, std::uint64_t to) {
    std::uint64_t next = from;
    while (in_flight_ > 0 || (next <= to && !error_)) {
        while (next <= to && !error_ && in_flight_ < in_flight_max) {
            if (!objects_.contains(next)) {
                start(next);
            }
            ++next;
        }
        if (in_flight_ > 0) {
            store_.wait(wait_slice_ns, -1);
            store_.poll();
        }
    }
    return error_ ? Result<void>(std::unexpected(std::move(*error_))) : Result<void>{};
}

void ObjectFetch::start(std::uint64_t number) {
    ++in_flight_;
    const blob::BlobName name = name_of_(number);
    store_.get({.name = name}, [this, number, name](Result<blob::GetResult> got) {
        --in_flight_;
        if (got) {
            objects_.emplace(number, std::move(got->bytes));
        } else if (!error_) {
            error_ = about(name, std::move(got).error()).error();
        }
    });
}

}  // namespace cw::vault
