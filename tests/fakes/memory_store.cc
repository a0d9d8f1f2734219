#include "tests/fakes/memory_store.h"

#include "egress/blob/common.h"
#include "tests/fakes/memory_vault.h"

#include <algorithm>

namespace cw::fakes {

using namespace blob;

// One process's view of the vault. Named, not hidden, because MemoryVault befriends it.
class MemoryStore final : public BlobStore {
public:
    explicit MemoryStore(MemoryVault& vault) : vault_(vault) {}
    ~MemoryStore() override {
        const std::lock_guard guard(vault_.mutex_);
        std::erase_if(vault_.due_, [this](const auto& entry) { return entry.second == this; });
    }
    MemoryStore(const MemoryStore&) = delete;
    MemoryStore& operator=(const MemoryStore&) = delete;

    void put(PutRequest request, Done<PutResult> done) override {
        if (auto ok = check_put(request); !ok) {
            return finish([done = std::move(done), error = ok.error()] {
                done({PutOutcome::refused, {}, error});
            });
        }
        const BlobFault fault = vault_.next_fault(BlobOp::put);
        std::optional<PutResult> early;
        if ((fault == BlobFault::none || fault == BlobFault::lost_reply) &&
            vault_.draw(vault_.options_.applied_early)) {
            early = vault_.put(request);
        } else if (fault == BlobFault::late) {
            vault_.put_late(request);
        }
        finish([this, fault, early = std::move(early), request = std::move(request),
                done = std::move(done)] {
            const bool applies = fault == BlobFault::none || fault == BlobFault::lost_reply;
            PutResult result = early ? *early : applies ? vault_.put(request) : PutResult{};
            done(fault == BlobFault::none ? std::move(result) : put_fault(fault));
        });
    }
    void get(GetRequest request, Done<Result<GetResult>> done) override {
        auto checked = check_get(request);
        start(BlobOp::get, std::move(checked), std::move(done),
              [this, request = std::move(request)] { return vault_.get(request); });
    }
    void head(BlobName name, Done<Result<BlobProperties>> done) override {
        auto checked = check_name(name);
        start(BlobOp::head, std::move(checked), std::move(done),
              [this, name = std::move(name)] { return vault_.head(name); });
    }
    void list(Container container, std::string prefix, std::string marker,
              Done<Result<ListPage>> done) override {
        auto checked = check_prefix(prefix);
        start(BlobOp::list, std::move(checked), std::move(done),
              [this, container, prefix = std::move(prefix), marker = std::move(marker)] {
                  return vault_.list(container, prefix, marker);
              });
    }
    void remove(BlobName name, Done<Result<void>> done) override {
        auto checked = check_name(name);
        start(BlobOp::remove, std::move(checked), std::move(done),
              [this, name = std::move(name)] { return vault_.remove(name); });
    }
    void create_containers(Done<Result<void>> done) override {
        finish([this, done = std::move(done)] {
            vault_.create_containers();
            done({});
        });
    }
    std::size_t poll() override;
    void wait(std::int64_t timeout_ns, int wake_fd) override {
        (void)wake_fd;  // Time is the test's: there is nothing to sleep on.
        const Nanos now = vault_.clock_.boot();
        const bool ready =
            std::ranges::any_of(pending_, [&](const Pending& p) { return p.due <= now; });
        if (!ready && vault_.options_.on_wait) {
            vault_.options_.on_wait(timeout_ns);
        }
    }
    [[nodiscard]] std::size_t in_flight() const noexcept override {
        return pending_.size() + running_;
    }

private:
    struct Pending {
        Nanos due;
        std::function<void()> work;
    };

    template <typename T, typename Work>
    void start(BlobOp op, Result<void> checked, Done<Result<T>> done, Work work) {
        if (!checked) {
            return finish([done = std::move(done), error = checked.error()] {
                done(std::unexpected(error));
            });
        }
        const BlobFault fault = vault_.next_fault(op);
        finish([fault, done = std::move(done), work = std::move(work)] {
            switch (fault) {
                case BlobFault::none:
                    return done(work());
                case BlobFault::lost_reply:
                    (void)work();
                    break;
                case BlobFault::throttled:
                    return done(fail(Errc::blob_throttled, "scripted"));
                case BlobFault::denied:
                    return done(fail(Errc::blob_auth, "scripted"));
                case BlobFault::unavailable:
                case BlobFault::lost_request:
                case BlobFault::late:
                    break;
            }
            done(fail(Errc::blob_unavailable, "scripted"));
        });
    }
    static PutResult put_fault(BlobFault fault) {
        switch (fault) {
            case BlobFault::unavailable:
                return refused(Errc::blob_unavailable, "scripted");
            case BlobFault::throttled:
                return refused(Errc::blob_throttled, "scripted");
            case BlobFault::denied:
                return refused(Errc::blob_auth, "scripted");
            case BlobFault::none:
            case BlobFault::lost_reply:
            case BlobFault::lost_request:
            case BlobFault::late:
                break;
        }
        return unknown("scripted");
    }
    void finish(std::function<void()> work) {
        const Nanos due = vault_.clock_.boot() + vault_.draw_latency_ns();
        pending_.push_back({due, std::move(work)});
        const std::lock_guard guard(vault_.mutex_);
        vault_.due_.emplace(due, this);
    }
    void forget_due(Nanos due) {
        const std::lock_guard guard(vault_.mutex_);
        auto [at, end] = vault_.due_.equal_range(due);
        at = std::find_if(at, end, [this](const auto& entry) { return entry.second == this; });
        CW_ASSERT(at != end);
        vault_.due_.erase(at);
    }

    MemoryVault& vault_;
    std::vector<Pending> pending_;
    std::size_t running_ = 0;
};

std::size_t MemoryStore::poll() {
    const Nanos now = vault_.clock_.boot();
    vault_.land_due(now);
    const auto later =
        std::stable_partition(pending_.begin(), pending_.end(),
                              [now](const Pending& pending) { return pending.due > now; });
    std::vector<Pending> ready(std::make_move_iterator(later),
                               std::make_move_iterator(pending_.end()));
    pending_.erase(later, pending_.end());
    if (vault_.options_.shuffle) {
        const std::lock_guard guard(vault_.mutex_);
        for (std::size_t i = ready.size(); i > 1; --i) {
            std::swap(ready[i - 1], ready[vault_.random_->below(i)]);
        }
    }
    running_ += ready.size();
    for (Pending& pending : ready) {
        --running_;
        forget_due(pending.due);
        pending.work();
    }
    return ready.size();
}

namespace {

class MemoryFactory final : public StoreFactory {
public:
    explicit MemoryFactory(MemoryVault& vault) : vault_(vault) {}
    std::unique_ptr<BlobStore> make() override { return std::make_unique<MemoryStore>(vault_); }
    [[nodiscard]] std::string describe() const override { return "memory:"; }

private:
    MemoryVault& vault_;
};

}  // namespace

std::unique_ptr<StoreFactory> make_memory_factory(MemoryVault& vault) {
    return std::make_unique<MemoryFactory>(vault);
}

}  // namespace cw::fakes
