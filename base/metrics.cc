#include "base/metrics.h"

#include "base/assert.h"

#include <algorithm>
#include <map>
#include <mutex>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace cw {
namespace {

class CounterSeries final : public Counter {
public:
    void add(double amount) override {
        CW_ASSERT(amount >= 0);
        counter_.Increment(amount);
    }
    double value() const override { return counter_.Value(); }
    prometheus::ClientMetric collect() const { return counter_.Collect(); }

private:
    prometheus::Counter counter_;
};

class GaugeSeries final : public Gauge {
public:
    void set(double value) override { gauge_.Set(value); }
    double value() const override { return gauge_.Value(); }
    prometheus::ClientMetric collect() const { return gauge_.Collect(); }

private:
    prometheus::Gauge gauge_;
};

class HistogramSeries final : public Histogram {
public:
    explicit HistogramSeries(const std::vector<double>& bounds) : histogram_(bounds) {}
    void observe(double value) override { histogram_.Observe(value); }
    prometheus::ClientMetric collect() const { return histogram_.Collect(); }

private:
    prometheus::Histogram histogram_;
};

// One metric name with its series. A forgotten series is no longer shown but stays in place, for
// handles outlive the machine; looked up again, it goes on from where it was.
template <typename Series>
class Family {
public:
    template <typename... Args>
    Series& series(Labels labels, const Args&... args) {
        std::ranges::sort(labels);
        auto [at, is_new] = series_.try_emplace(std::move(labels));
        if (is_new) {
            at->second.series = std::make_unique<Series>(args...);
        }
        at->second.shown = true;
        return *at->second.series;
    }
    void forget(std::string_view label, std::string_view value) {
        for (auto& [labels, entry] : series_) {
            const auto matches = [&](const auto& pair) {
                return pair.first == label && pair.second == value;
            };
            if (std::ranges::any_of(labels, matches)) {
                entry.shown = false;
            }
        }
    }
    prometheus::MetricFamily collect(const std::string& name, prometheus::MetricType type) const {
        prometheus::MetricFamily family{name, "", type, {}};
        for (const auto& [labels, entry] : series_) {
            if (!entry.shown) {
                continue;
            }
            prometheus::ClientMetric metric = entry.series->collect();
            for (const auto& [label, value] : labels) {
                metric.label.push_back({label, value});
            }
            family.metric.push_back(std::move(metric));
        }
        return family;
    }

private:
    struct Entry {
        std::unique_ptr<Series> series;
        bool shown = true;
    };
    std::map<Labels, Entry> series_;
};

template <typename Series>
using Families = std::map<std::string, Family<Series>, std::less<>>;

class PrometheusRegistry final : public MetricRegistry {
public:
    Counter& counter(std::string_view name, const Labels& labels) override {
        const std::lock_guard lock(mutex_);
        return family(counters_, name).series(labels);
    }
    Gauge& gauge(std::string_view name, const Labels& labels) override {
        const std::lock_guard lock(mutex_);
        return family(gauges_, name).series(labels);
    }
    Histogram& histogram(std::string_view name, const std::vector<double>& bounds,
                         const Labels& labels) override {
        CW_ASSERT(std::ranges::is_sorted(bounds));
        const std::lock_guard lock(mutex_);
        const auto& kept = bounds_.try_emplace(std::string(name), bounds).first->second;
        return family(histograms_, name).series(labels, kept);
    }
    void forget(std::string_view label, std::string_view value) override {
        const std::lock_guard lock(mutex_);
        for_each_family([&](const std::string&, auto& found, prometheus::MetricType) {
            found.forget(label, value);
        });
    }
    std::string render() override {
        std::vector<prometheus::MetricFamily> collected;
        {
            const std::lock_guard lock(mutex_);
            for_each_family([&](const std::string& name, auto& found, prometheus::MetricType type) {
                collected.push_back(found.collect(name, type));
            });
        }
        std::erase_if(collected, [](const auto& one) { return one.metric.empty(); });
        return prometheus::TextSerializer().Serialize(collected);
    }

private:
    template <typename Series>
    static Family<Series>& family(Families<Series>& families, std::string_view name) {
        return families[std::string(name)];
    }
    template <typename Visit>
    void for_each_family(const Visit& visit) {
        for (auto& [name, found] : counters_) {
            visit(name, found, prometheus::MetricType::Counter);
        }
        for (auto& [name, found] : gauges_) {
            visit(name, found, prometheus::MetricType::Gauge);
        }
        for (auto& [name, found] : histograms_) {
            visit(name, found, prometheus::MetricType::Histogram);
        }
    }

    std::mutex mutex_;  // Guards the maps; values are atomic in themselves.
    Families<CounterSeries> counters_;
    Families<GaugeSeries> gauges_;
    Families<HistogramSeries> histograms_;
    std::map<std::string, std::vector<double>> bounds_;
};

}  // namespace

std::unique_ptr<MetricRegistry> make_metric_registry() {
    return std::make_unique<PrometheusRegistry>();
}

}  // namespace cw
