#include "pipeline/budget.h"

#include "base/assert.h"
#include "base/ids.h"
#include "pipeline/coalesce.h"
#include "pipeline/slab.h"
#include "pipeline/transform.h"

#include <cstdio>

namespace cw::pipeline {
namespace {

std::uint64_t slab_sum(const SlabSplit& slabs) noexcept {
    return (slabs.ingest + slabs.segment + slabs.readback) * slab_bytes;
}

std::string in_mib(std::uint64_t bytes) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f MiB",
                  static_cast<double>(bytes) / static_cast<double>(mib));
    return text;
}

std::string counted(std::uint64_t count, std::string_view what) {
    return std::to_string(count) + " " + std::string(what);
}

// Everything that is not slabs.
MemoryBudget other_terms(const BudgetNeeds& needs) {
    MemoryBudget budget;
    budget.add("codecs", needs.compute_workers * std::uint64_t{worker_bytes(needs.zstd_level)},
               counted(needs.compute_workers, "compute workers' contexts and scratch"));
    budget.add("plans", needs.jobs_at_once * plan_extents_max * plan_bytes_per_extent,
               counted(needs.jobs_at_once, "segments' extents, fragments and index entries"));
    const std::uint64_t connections =
        std::uint64_t{needs.ingest_connections} + needs.upload_connections;
    budget.add("connections", connections * needs.connection_bytes,
               counted(connections, "connections, in and out"));
    for (const BudgetTerm& other : needs.others) {
        budget.add(other.name, other.bytes, other.why);
    }
    budget.add("fixed", needs.fixed_bytes, "code, tables and the index of the spool");
    return budget;
}

}  // namespace

void MemoryBudget::add(std::string name, std::uint64_t bytes, std::string why) {
    terms_.push_back({.name = std::move(name), .bytes = bytes, .why = std::move(why)});
}

std::uint64_t MemoryBudget::total() const noexcept {
    std::uint64_t sum = 0;
    for (const BudgetTerm& term : terms_) {
        sum += term.bytes;
    }
    return sum;
}

std::string MemoryBudget::text() const {
    std::string out;
    char line[64];
    for (const BudgetTerm& term : terms_) {
        std::snprintf(line, sizeof line, "%-12.12s %12s  ", term.name.c_str(),
                      in_mib(term.bytes).c_str());
        out += line + term.why + "\n";
    }
    std::snprintf(line, sizeof line, "%-12s %12s\n", "sum", in_mib(total()).c_str());
    return out + line;
}

SlabSplit minimum_slabs(const BudgetNeeds& needs) {
    CW_ASSERT(needs.records_at_once >= 1 && needs.spool_batches >= 1);
    const std::uint64_t batches =
        align_up(needs.spool_batches * needs.spool_batch_bytes, slab_bytes) / slab_bytes;
    constexpr std::size_t plan_slabs = plan_raw_bytes_max / slab_bytes;
    return {
        // Every half-received record can finish while every batch is with the device; one more, so
        // that the next can begin.
        .ingest = (std::size_t{needs.records_at_once} + 1) * slabs_per_record_max + batches,
        // One job in the worst case: it runs alone, but it runs.
        .segment = plan_slabs,
        // The input of one job, and one record more, with which it turns out to be full. Whoever
        // collects the input counts slabs as well as bytes: a small record holds a whole slab.
        .readback = plan_slabs + slabs_per_record_max,
    };
}

Result<MemoryPlan> plan_memory(const BudgetNeeds& needs) {
    SlabSplit slabs = minimum_slabs(needs);
    const MemoryBudget others = other_terms(needs);
    const std::uint64_t least = slab_sum(slabs) + others.total();
    if (needs.limit_bytes < least) {
        return fail(Errc::config_invalid, "pipeline.memory is " + in_mib(needs.limit_bytes) +
                                              ", but " + in_mib(least) +
                                              " are needed so that no stage can wait for ever");
    }
    const std::size_t spare = (needs.limit_bytes - least) / slab_bytes;
    slabs.ingest += spare / 2;
    slabs.segment += spare / 3;
    slabs.readback += spare - spare / 2 - spare / 3;
    MemoryPlan plan{.slabs = slabs, .budget = {}};
    plan.budget.add("ingest", slabs.ingest * slab_bytes,
                    counted(slabs.ingest, "slabs: records received, spooled and still resident"));
    plan.budget.add("segment", slabs.segment * slab_bytes,
                    counted(slabs.segment, "slabs: sealed bodies until they are uploaded"));
    plan.budget.add("readback", slabs.readback * slab_bytes,
                    counted(slabs.readback, "slabs: records read back from the spool"));
    for (const BudgetTerm& term : others.terms()) {
        plan.budget.add(term.name, term.bytes, term.why);
    }
    CW_ASSERT(plan.budget.total() <= needs.limit_bytes);
    return plan;
}

}  // namespace cw::pipeline
