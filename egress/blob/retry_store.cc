#include "egress/blob/retry_store.h"

#include "egress/blob/retry_put.h"
#include "egress/blob/retry_queue.h"

namespace cw::blob {
namespace {

// Any operation that may simply be repeated.
template <typename T>
class RepeatJob final : public RetryJob {
public:
    using Start = std::function<void(BlobStore&, Done<Result<T>>)>;
    RepeatJob(RetryQueue& queue, std::string_view op, Nanos began, Start start,
              Done<Result<T>> done)
        : RetryJob(op, began), queue_(queue), start_(std::move(start)), done_(std::move(done)) {}
    void send(BlobStore& inner) override {
        start_(inner, [this](Result<T> result) { came_back(std::move(result)); });
    }

private:
    void came_back(Result<T> result) {
        if (result) {
            queue_.came_back(*this, "ok", true);
            return finish(std::move(result));
        }
        const Action action = action_of(result.error().code);
        const bool again = action == Action::retry || action == Action::throttle;
        queue_.came_back(*this, name_of(result.error().code), !again);
        if (!again || queue_.overdue(*this)) {
            return finish(std::move(result));
        }
        queue_.pause(*this, std::move(result).error());
    }
    void finish(Result<T> result) {
        const Done<Result<T>> done = std::move(done_);
        queue_.end(*this);  // `this` is gone.
        done(std::move(result));
    }

    RetryQueue& queue_;
    const Start start_;
    Done<Result<T>> done_;
};

class RetryStore final : public BlobStore {
public:
    RetryStore(std::shared_ptr<RetryShared> shared, std::unique_ptr<BlobStore> inner)
        : shared_(std::move(shared)), inner_(std::move(inner)), queue_(*shared_, *inner_) {}

    void put(PutRequest request, Done<PutResult> done) override {
        queue_.add(std::make_unique<RetryPut>(queue_, std::move(request), std::move(done),
                                              shared_->clock.boot()));
    }
    void get(GetRequest request, Done<Result<GetResult>> done) override {
        repeat<GetResult>("get", std::move(done),
                          [request = std::move(request)](BlobStore& inner, auto again) {
                              inner.get(request, std::move(again));
                          });
    }
    void head(BlobName name, Done<Result<BlobProperties>> done) override {
        repeat<BlobProperties>("head", std::move(done),
                               [name = std::move(name)](BlobStore& inner, auto again) {
                                   inner.head(name, std::move(again));
                               });
    }
    void list(Container container, std::string prefix, std::string marker,
              Done<Result<ListPage>> done) override {
        repeat<ListPage>("list", std::move(done),
                         [container, prefix = std::move(prefix), marker = std::move(marker)](
                             BlobStore& inner, auto again) {
                             inner.list(container, prefix, marker, std::move(again));
                         });
    }
    void remove(BlobName name, Done<Result<void>> done) override {
        repeat<void>("remove", std::move(done),
                     [name = std::move(name)](BlobStore& inner, auto again) {
                         inner.remove(name, std::move(again));
                     });
    }
    void create_containers(Done<Result<void>> done) override {
        repeat<void>("create", std::move(done), [](BlobStore& inner, auto again) {
            inner.create_containers(std::move(again));
        });
    }
    std::size_t poll() override {
        queue_.pump();
        const std::size_t done = inner_->poll();
        queue_.pump();
        return done;
    }
    void wait(std::int64_t timeout_ns, int wake_fd) override {
        inner_->wait(queue_.until_due_ns(timeout_ns), wake_fd);
    }
    [[nodiscard]] std::size_t in_flight() const noexcept override { return queue_.size(); }
    void set_concurrency(std::size_t operations) override {
        queue_.set_concurrency(operations);
        inner_->set_concurrency(operations);
    }

private:
    template <typename T, typename Start>
    void repeat(std::string_view op, Done<Result<T>> done, Start start) {
        queue_.add(std::make_unique<RepeatJob<T>>(queue_, op, shared_->clock.boot(),
                                                  std::move(start), std::move(done)));
    }

    std::shared_ptr<RetryShared> shared_;  // With the factory and its other stores.
    std::unique_ptr<BlobStore> inner_;
    RetryQueue queue_;
};

class RetryFactory final : public StoreFactory {
public:
    RetryFactory(std::unique_ptr<StoreFactory> inner, std::shared_ptr<RetryShared> shared)
        : inner_(std::move(inner)), shared_(std::move(shared)) {}
    std::unique_ptr<BlobStore> make() override {
        return std::make_unique<RetryStore>(shared_, inner_->make());
    }
    [[nodiscard]] std::string describe() const override { return inner_->describe(); }

private:
    std::unique_ptr<StoreFactory> inner_;
    std::shared_ptr<RetryShared> shared_;  // With the stores, which may outlive the factory.
};

}  // namespace

std::unique_ptr<StoreFactory> make_retry_factory(std::unique_ptr<StoreFactory> inner,
                                                 const RetryOptions& options, Clock& clock,
                                                 Random& random, MetricRegistry& metrics) {
    auto shared = std::make_shared<RetryShared>(options, clock, random, metrics);
    return std::make_unique<RetryFactory>(std::move(inner), std::move(shared));
}

}  // namespace cw::blob
