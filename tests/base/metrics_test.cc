#include "base/metrics.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Metrics, RenderInPrometheusForm) {
    const auto metrics = make_metric_registry();
    metrics->counter("causeway_ingest_bytes_total", {{"machine", "a"}}).add(3);
    metrics->gauge("causeway_rpo_seconds", {{"machine", "a\"b"}}).set(1.5);
    auto& histogram = metrics->histogram("causeway_blob_latency_seconds", {0.1, 1});
    histogram.observe(0.05);
    histogram.observe(5);
    const std::string text = metrics->render();
    EXPECT_THAT(text, HasSubstr("# TYPE causeway_ingest_bytes_total counter\n"));
    EXPECT_THAT(text, HasSubstr("causeway_ingest_bytes_total{machine=\"a\"} 3\n"));
    EXPECT_THAT(text, HasSubstr("causeway_rpo_seconds{machine=\"a\\\"b\"} 1.5\n"));
    EXPECT_THAT(text, HasSubstr("causeway_blob_latency_seconds_count 2\n"));
    EXPECT_THAT(text, HasSubstr("causeway_blob_latency_seconds_bucket{le=\"0.1\"} 1\n"));
    EXPECT_THAT(text, HasSubstr("causeway_blob_latency_seconds_bucket{le=\"+Inf\"} 2\n"));
}

TEST(Metrics, AreOneSeriesWhateverTheOrderOfLabels) {
    const auto metrics = make_metric_registry();
    Counter& one = metrics->counter("c", {{"a", "1"}, {"b", "2"}});
    Counter& two = metrics->counter("c", {{"b", "2"}, {"a", "1"}});
    EXPECT_EQ(&one, &two);
    EXPECT_NE(&one, &metrics->counter("c", {{"a", "1"}, {"b", "3"}}));
}

TEST(Metrics, ForgetHidesAMachineButKeepsItsHandles) {
    const auto metrics = make_metric_registry();
    Counter& gone = metrics->counter("c", {{"machine", "gone"}});
    metrics->counter("c", {{"machine", "kept"}}).add(1);
    gone.add(1);
    metrics->forget("machine", "gone");
    EXPECT_THAT(metrics->render(), Not(HasSubstr("gone")));
    EXPECT_THAT(metrics->render(), HasSubstr("kept"));
    gone.add(1);  // A thread that has not noticed yet.
    EXPECT_EQ(&metrics->counter("c", {{"machine", "gone"}}), &gone);
    EXPECT_THAT(metrics->render(), HasSubstr("c{machine=\"gone\"} 2\n"));
}

TEST(Metrics, CountEveryAdditionOfEveryThread) {
    const auto metrics = make_metric_registry();
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&metrics] {
            for (int i = 0; i < 1000; ++i) {
                metrics->counter("c").add(1);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(metrics->counter("c").value(), 4000);
}

}  // namespace
}  // namespace cw
