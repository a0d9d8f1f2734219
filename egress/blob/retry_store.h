// The one place where object store operations are repeated: a decorator over any BlobStore.
//
// - Pauses grow with full jitter; a budget shared by all stores of the factory bounds the extra
//   requests; the number of operations in flight follows what the store bears (additive increase,
//   halved when it throttles).
// - Errors whose action is neither retry nor throttle are reported at once.
// - A put of unknown outcome is read back first: the metadata entry `nonce_key` tells our object
//   from another's. Absent: put again. A conflict whose object carries our nonce is our own earlier
//   attempt, and success. Without a nonce the unknown outcome is reported as it is.
// - After `give_up_ns` the last error is reported; a put that may have been applied stays unknown.
//
// - An operation that has kept failing for `tell_ns` is told as a condition about "store".
//
// Counts causeway_blob_requests_total{op,code} and causeway_blob_latency_seconds{op} per attempt.
#pragma once

#include "base/conditions.h"
#include "base/metrics.h"
#include "base/random.h"
#include "egress/blob/retry_budget.h"
#include "egress/blob/store.h"

namespace cw::blob {

// Every put that wants its lost reply recognised carries this metadata entry, unique per object.
inline constexpr std::string_view nonce_key = "nonce";

struct RetryOptions {
    std::int64_t pause_first_ns = 500 * ns_per_ms;  // Doubles per attempt.
    std::int64_t pause_most_ns = 30 * ns_per_s;
    std::int64_t give_up_ns = 120 * ns_per_s;  // Since the operation began; 0: never.
    std::size_t concurrency_first = 8;         // Operations in flight per store at the start.
    std::size_t concurrency_most = 64;         // Until set_concurrency().
    RetryBudgetOptions budget = {};
    std::int64_t tell_ns = 10 * ns_per_s;  // Since its first failure; well within half a minute.
    Conditions* conditions = nullptr;      // Outlives the stores; null: nobody is told.
};

// `clock`, `random` and `metrics` outlive the stores and are thread-safe if the stores are used on
// several threads.
std::unique_ptr<StoreFactory> make_retry_factory(std::unique_ptr<StoreFactory> inner,
                                                 const RetryOptions& options, Clock& clock,
                                                 Random& random, MetricRegistry& metrics);

}  // namespace cw::blob
