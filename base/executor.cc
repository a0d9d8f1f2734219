#include "base/executor.h"

#include "base/assert.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

namespace cw {
namespace {

// Counts what was posted and not finished. Counting under the lock keeps the last worker out of
// here before the owner may go on and destroy it.
class Outstanding {
public:
    void add() {
        const std::lock_guard lock(mutex_);
        ++count_;
    }
    void finish() {
        const std::lock_guard lock(mutex_);
        CW_ASSERT(count_ > 0);
        if (--count_ == 0) {
            none_.notify_all();
        }
    }
    void wait_for_none() {
        std::unique_lock lock(mutex_);
        none_.wait(lock, [this] { return count_ == 0; });
    }

private:
    std::mutex mutex_;
    std::condition_variable none_;
    std::size_t count_ = 0;
};

class TbbExecutor final : public Executor {
public:
    explicit TbbExecutor(std::size_t workers)
        : workers_(workers),
          // The limit counts the thread that owns it, which never works here.
          limit_(tbb::global_control::max_allowed_parallelism, workers + 1),
          arena_(static_cast<int>(workers), 0) {
        CW_ASSERT(workers >= 1);
        arena_.initialize();
    }
    ~TbbExecutor() override { outstanding_.wait_for_none(); }
    TbbExecutor(const TbbExecutor&) = delete;
    TbbExecutor& operator=(const TbbExecutor&) = delete;

    void post(std::function<void()> task) override {
        outstanding_.add();
        arena_.enqueue(Posted{std::move(task), &outstanding_});
    }
    std::size_t worker_index() const noexcept override {
        const int index = tbb::this_task_arena::current_thread_index();
        CW_ASSERT(index >= 0 && static_cast<std::size_t>(index) < workers_);
        return static_cast<std::size_t>(index);
    }
    std::size_t worker_count() const noexcept override { return workers_; }

private:
    struct Posted {
        mutable std::function<void()> task;  // TBB calls a const copy.
        Outstanding* outstanding;
        void operator()() const noexcept {
            task();
            task = nullptr;  // What it holds is released before the executor may be destroyed.
            outstanding->finish();
        }
    };

    std::size_t workers_;
    tbb::global_control limit_;
    tbb::task_arena arena_;
    Outstanding outstanding_;
};

thread_local std::size_t thread_index = 0;

class ThreadExecutor final : public Executor {
public:
    explicit ThreadExecutor(std::size_t workers) : workers_(workers) {
        CW_ASSERT(workers >= 1);
        threads_.reserve(workers);
        for (std::size_t i = 0; i < workers; ++i) {
            threads_.emplace_back([this, i] { work(i); });
        }
    }
    ~ThreadExecutor() override {
        {
            const std::lock_guard lock(mutex_);
            closing_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }
    ThreadExecutor(const ThreadExecutor&) = delete;
    ThreadExecutor& operator=(const ThreadExecutor&) = delete;

    void post(std::function<void()> task) override {
        {
            const std::lock_guard lock(mutex_);
            tasks_.push_back(std::move(task));
        }
        wake_.notify_one();
    }
    std::size_t worker_index() const noexcept override { return thread_index; }
    std::size_t worker_count() const noexcept override { return workers_; }

private:
    void work(std::size_t index) noexcept {
        thread_index = index;
        std::unique_lock lock(mutex_);
        while (true) {
            wake_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
            if (tasks_.empty()) {
                return;  // Closing, and nothing is left.
            }
            std::function<void()> task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task();
            task = nullptr;
            lock.lock();
        }
    }

    std::size_t workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> tasks_;
    bool closing_ = false;
    std::vector<std::thread> threads_;
};

class InlineExecutor final : public Executor {
public:
    void post(std::function<void()> task) override { task(); }
    std::size_t worker_index() const noexcept override { return 0; }
    std::size_t worker_count() const noexcept override { return 1; }
};

}  // namespace

std::unique_ptr<Executor> make_tbb_executor(std::size_t workers) {
    if (workers == 1) {
        // TBB gives every arena two slots, so that tasks of an arena of one may run as worker 1.
        return make_thread_executor(1);
    }
    return std::make_unique<TbbExecutor>(workers);
}

std::unique_ptr<Executor> make_thread_executor(std::size_t workers) {
    return std::make_unique<ThreadExecutor>(workers);
}

std::unique_ptr<Executor> make_inline_executor() {
    return std::make_unique<InlineExecutor>();
}

std::unique_ptr<Executor> make_compute_executor(std::size_t workers) {
#ifdef CAUSEWAY_TSAN
    return make_thread_executor(workers);
#else
    return make_tbb_executor(workers);
#endif
}

}  // namespace cw
