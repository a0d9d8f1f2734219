// Metrics in Prometheus form, backed by prometheus-cpp. Names are fixed in docs/operations.md.
//
// Counter and Gauge handles are cheap, thread-safe and valid as long as the Registry. Look a handle
// up once and keep it: the look-up takes a lock.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cw {

class Counter {
public:
    virtual ~Counter() = default;
    virtual void add(double amount) = 0;  // amount >= 0
    [[nodiscard]] virtual double value() const = 0;
};

class Gauge {
public:
    virtual ~Gauge() = default;
    virtual void set(double value) = 0;
    [[nodiscard]] virtual double value() const = 0;
};

class Histogram {
public:
    virtual ~Histogram() = default;
    virtual void observe(double value) = 0;
};

using Labels = std::vector<std::pair<std::string, std::string>>;

class MetricRegistry {
public:
    virtual ~MetricRegistry() = default;
    virtual Counter& counter(std::string_view name, const Labels& labels = {}) = 0;
    virtual Gauge& gauge(std::string_view name, const Labels& labels = {}) = 0;
    // Upper bounds in ascending order, used when the family is first seen.
    virtual Histogram& histogram(std::string_view name, const std::vector<double>& bounds,
                                 const Labels& labels = {}) = 0;
    // Drops every series carrying this label (a machine that was removed).
    virtual void forget(std::string_view label, std::string_view value) = 0;
    virtual std::string render() = 0;  // text/plain; version=0.0.4
};

std::unique_ptr<MetricRegistry> make_metric_registry();

}  // namespace cw
