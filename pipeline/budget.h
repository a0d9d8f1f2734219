// MemoryBudget: what the process may use at most, as a sum with one named term per consumer, worked
// out before anything is allocated, printed at start and held whatever peers send.
//
// A split is refused when it could deadlock: when a pool could be emptied by holders each of whom
// waits for one slab more.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace cw::pipeline {

struct BudgetTerm {
    std::string name;  // "ingest", "segment", …
    std::uint64_t bytes = 0;
    std::string why;  // "96 slabs of 1 MiB: records being received and spooled"
};

class MemoryBudget {
public:
    void add(std::string name, std::uint64_t bytes, std::string why);
    [[nodiscard]] std::uint64_t total() const noexcept;
    [[nodiscard]] const std::vector<BudgetTerm>& terms() const noexcept { return terms_; }
    // One line per term and the sum, for the log at start.
    [[nodiscard]] std::string text() const;

private:
    std::vector<BudgetTerm> terms_;
};

// What determines the need. All counts >= 1.
struct BudgetNeeds {
    std::uint64_t limit_bytes = 0;        // [pipeline] memory
    std::uint32_t records_at_once = 1;    // Records that can be half received at one moment.
    std::uint32_t spool_batches = 4;      // In flight to the device …
    std::uint64_t spool_batch_bytes = 0;  // … of at most this size.
    std::uint32_t compute_workers = 1;
    int zstd_level = 3;              // The highest that may be used; "auto" goes up to 3.
    std::uint32_t jobs_at_once = 2;  // Segments transformed or uploaded at one moment.
    std::uint32_t upload_connections = 1;
    std::uint64_t connection_bytes = 0;  // TLS and HTTP state of one connection, either side.
    std::uint32_t ingest_connections = 1;
    std::uint64_t fixed_bytes = 0;   // Code, tables, indexes of what is spooled.
    std::vector<BudgetTerm> others;  // Whatever else the process may use, by name.
};

// Slabs per pool.
struct SlabSplit {
    std::size_t ingest = 0;    // From the socket until spooled, and on as long as there is room.
    std::size_t segment = 0;   // Sealed bodies from transform to upload.
    std::size_t readback = 0;  // Records read back from the spool.
};

struct MemoryPlan {
    SlabSplit slabs;
    MemoryBudget budget;
};

// The least each pool needs so that nobody waits for ever.
SlabSplit minimum_slabs(const BudgetNeeds& needs);

// Gives every pool its minimum and shares what is left of the limit: half to ingest (data that is
// transformed while it is still in memory need not be read back), a third to segments, the rest to
// read-back. Errors: config_invalid, when the limit is below the minimum; the text names the sum.
Result<MemoryPlan> plan_memory(const BudgetNeeds& needs);

}  // namespace cw::pipeline
