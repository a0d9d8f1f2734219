#include "pipeline/thread_cpu.h"

#include "base/assert.h"
#include "base/clock.h"

#include <sys/resource.h>

namespace cw::pipeline {

std::int64_t thread_cpu_ns() noexcept {
    rusage usage{};
    CW_ASSERT(::getrusage(RUSAGE_THREAD, &usage) == 0);
    const auto ns = [](const timeval& t) {
        return std::int64_t{t.tv_sec} * ns_per_s + std::int64_t{t.tv_usec} * ns_per_us;
    };
    return ns(usage.ru_utime) + ns(usage.ru_stime);
}

}  // namespace cw::pipeline
