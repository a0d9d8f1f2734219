// The end of the log: what lies above the durable mark, and was acknowledged or not.
//
// A batch that can be read and does not verify, or is not there, was torn: it and what follows was
// never acknowledged. A place that cannot be read proves nothing: what lies there may have been
// acknowledged, so it is neither cut off nor written over but counted as lost, and the log goes on
// behind it.
#pragma once

#include "cache/log_scan.h"

#include <cstdint>
#include <vector>

namespace cw::cache {

struct SecuredTail {
    std::uint64_t last = 0;               // The last batch that counts; what is above is dropped.
    std::vector<BatchRun> lost;           // Above the mark, each in a place that cannot be read.
    std::vector<UnreadablePlace> places;  // Where, for each of `lost`.
    std::uint64_t records_lost = 0;       // In batches whose header is known.
};

// Writes every batch above the mark that counts again, as far as it can be read, and marks records
// that cannot be in `log` as not intact. Errors: io_error (a write failed).
Result<SecuredTail> secure_tail(const RegionScan::Target& target, LogScan& log);

}  // namespace cw::cache
