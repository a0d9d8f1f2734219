// Where CPU work runs: a TBB arena in production, plain threads under TSan (libtbb is not
// instrumented), inline in tests and simulation. For CPU work only: a task never waits for a
// socket, a disk or another task.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace cw {

class Executor {
public:
    virtual ~Executor() = default;
    // Runs `task` some time on some worker. Thread-safe. Never blocks and never runs it inside the
    // call, except the inline executor.
    virtual void post(std::function<void()> task) = 0;
    // Index of the calling worker in [0, worker_count()), for per-worker codec contexts. Only
    // inside a task.
    [[nodiscard]] virtual std::size_t worker_index() const noexcept = 0;
    [[nodiscard]] virtual std::size_t worker_count() const noexcept = 0;
};

// Destruction waits for posted tasks. `workers` >= 1; global_control is raised to match, because on
// two cores an arena asked for two workers silently gets one.
std::unique_ptr<Executor> make_tbb_executor(std::size_t workers);
std::unique_ptr<Executor> make_thread_executor(std::size_t workers);
std::unique_ptr<Executor> make_inline_executor();
// TBB, or plain threads in a TSan build.
std::unique_ptr<Executor> make_compute_executor(std::size_t workers);

}  // namespace cw
