// CPU time of the calling thread, user and system, in ns: resource usage for the stage metrics, not
// a clock. Nothing is decided by it.
#pragma once

#include <cstdint>

namespace cw::pipeline {

std::int64_t thread_cpu_ns() noexcept;

}  // namespace cw::pipeline
