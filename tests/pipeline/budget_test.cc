#include "pipeline/budget.h"

#include "base/ids.h"
#include "pipeline/coalesce.h"
#include "pipeline/slab.h"

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

BudgetNeeds typical() {
    return {.limit_bytes = 1 * gib,
            .records_at_once = 2,
            .spool_batches = 4,
            .spool_batch_bytes = 8 * mib,
            .compute_workers = 2,
            .jobs_at_once = 2,
            .upload_connections = 8,
            .connection_bytes = 128 * kib,
            .ingest_connections = 100,
            .fixed_bytes = 32 * mib,
            .others = {}};
}

TEST(Budget, StaysBelowItsLimitAndGivesEveryPoolItsMinimum) {
    const BudgetNeeds needs = typical();
    const auto plan = plan_memory(needs);
    ASSERT_TRUE(plan) << to_string(plan.error());
    EXPECT_LE(plan->budget.total(), needs.limit_bytes);
    EXPECT_GT(plan->budget.total(), needs.limit_bytes - 2 * mib);
    const SlabSplit least = minimum_slabs(needs);
    EXPECT_GE(plan->slabs.ingest, least.ingest);
    EXPECT_GE(plan->slabs.segment, least.segment);
    EXPECT_GE(plan->slabs.readback, least.readback);
}

TEST(Budget, RefusesALimitThatCouldDeadlockAndAcceptsTheOneItNames) {
    BudgetNeeds needs = typical();
    std::uint64_t low = 0, high = needs.limit_bytes;
    while (high - low > 1) {  // The smallest accepted limit.
        needs.limit_bytes = (low + high) / 2;
        (plan_memory(needs) ? high : low) = needs.limit_bytes;
    }
    needs.limit_bytes = low;
    const auto refused = plan_memory(needs);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::config_invalid);
    needs.limit_bytes = high;
    const auto plan = plan_memory(needs);
    ASSERT_TRUE(plan);
    EXPECT_GE(plan->slabs.segment * slab_bytes, plan_raw_bytes_max);
    EXPECT_GE(plan->slabs.ingest, 3 * slabs_per_record_max + 32);
}

TEST(Budget, PrintsEveryTermAndTheSum) {
    const auto plan = plan_memory(typical());
    ASSERT_TRUE(plan);
    const std::string text = plan->budget.text();
    for (const char* term :
         {"ingest", "segment", "readback", "codecs", "plans", "connections", "fixed", "sum"}) {
        EXPECT_NE(text.find(term), std::string::npos) << term << " in\n" << text;
    }
}

}  // namespace
}  // namespace cw::pipeline
