#include "tests/sim/store.h"

#include "base/assert.h"

#include <set>
#include <utility>

namespace cw::sim {
namespace {

using namespace blob;

class ProcessStore final : public BlobStore {
public:
    ProcessStore(std::unique_ptr<BlobStore> inner, const ProcessLife& life, StoreWatcher& watcher,
                 Mutant mutant)
        : inner_(std::move(inner)), life_(life), watcher_(watcher), mutant_(mutant) {}

    void put(PutRequest request, Done<PutResult> done) override {
        request.name = stored_name(std::move(request.name));
        if (mutant_ == Mutant::name_without_attempt && request.name.container == Container::data) {
            request.condition = PutCondition::none;
        }
        if (mutant_ == Mutant::gc_without_boundary &&
            request.name.container == Container::control && request.name.name.starts_with("gc/")) {
            start(std::move(done), PutResult{PutOutcome::stored, "nowhere", {}}, [&](auto answer) {
                inner_->head(request.name, [answer = std::move(answer)](auto&&) {
                    answer(PutResult{PutOutcome::stored, "nowhere", {}});
                });
            });
            return;
        }
        if (mutant_ == Mutant::note_left_beside && request.name.container == Container::control &&
            request.name.name.starts_with("gc/")) {
            PutRequest beside = request;
            beside.name.name += ".new";
            beside.condition = PutCondition::none;
            inner_->put(std::move(beside), [](auto&&) {});
        }
        if (mutant_ == Mutant::unconditional_manifest &&
            request.name.container == Container::manifest) {
            request.condition = PutCondition::none;
        }
        const BlobName name = request.name;
        std::shared_ptr<const ByteVector> reused;
        if (mutant_ == Mutant::buffer_reused && name.container == Container::data &&
            !put_before_.insert(name).second) {
            reused = std::make_shared<const ByteVector>(other_bytes(request));
            request.body = {Bytes(*reused)};
            request.crc64.reset();
        }
        if (!life_.dead) {
            watcher_.on_put(request);
        }
        Done<PutResult> ours = [this, name, reused, done = std::move(done)](PutResult result) {
            if (result.outcome == PutOutcome::unknown && mutant_ == Mutant::timeout_is_success) {
                result = {PutOutcome::stored, "assumed", {}};
            }
            if (result.outcome == PutOutcome::stored && !life_.dead) {
                watcher_.on_stored(name);
            }
            done(std::move(result));
        };
        start(std::move(ours), PutResult{PutOutcome::unknown, {}, died()},
              [&](auto wrapped) { inner_->put(std::move(request), std::move(wrapped)); });
    }
    void get(GetRequest request, Done<Result<GetResult>> done) override {
        request.name = stored_name(std::move(request.name));
        seeks_keys_ = request.name.container == Container::keys;
        if (mutant_ == Mutant::opener_ignores_note && lists_manifests_ &&
            request.name.container == Container::control && request.name.name.starts_with("gc/")) {
            done = [done = std::move(done)](auto&&) { done(fail(Errc::blob_not_found)); };
        }
        if (request.name.container == Container::data) {
            done = [this, name = request.name, by_etag = !request.if_match.empty(),
                    done = std::move(done)](Result<GetResult> got) {
                if (got && !life_.dead) {
                    watcher_.on_got(name, by_etag);
                }
                done(std::move(got));
            };
        }
        start(std::move(done), Result<GetResult>(std::unexpected(died())),
              [&](auto wrapped) { inner_->get(std::move(request), std::move(wrapped)); });
    }
    void head(BlobName name, Done<Result<BlobProperties>> done) override {
        if (mutant_ == Mutant::keys_made_anew && seeks_keys_ && name.container != Container::data) {
            done = [done = std::move(done)](auto&&) { done(fail(Errc::blob_not_found)); };
        }
        start(std::move(done), Result<BlobProperties>(std::unexpected(died())),
              [&](auto wrapped) { inner_->head(std::move(name), std::move(wrapped)); });
    }
    void list(Container container, std::string prefix, std::string marker,
              Done<Result<ListPage>> done) override {
        lists_manifests_ |= container == Container::manifest;
        if (mutant_ == Mutant::keys_made_anew && seeks_keys_) {
            done = [done = std::move(done)](auto&&) { done(ListPage{}); };
        }
        start(std::move(done), Result<ListPage>(std::unexpected(died())), [&](auto wrapped) {
            inner_->list(container, std::move(prefix), std::move(marker), std::move(wrapped));
        });
    }
    void remove(BlobName name, Done<Result<void>> done) override {
        if (!life_.dead) {
            watcher_.on_remove(name);
        }
        if (mutant_ == Mutant::manifests_kept && name.container == Container::manifest) {
            start(std::move(done), Result<void>(), [&](auto wrapped) {
                inner_->head(std::move(name), [wrapped](auto&&) { wrapped(Result<void>()); });
            });
            return;
        }
        Done<Result<void>> ours = [this, name, done = std::move(done)](Result<void> removed) {
            if (removed && !life_.dead) {
                watcher_.on_removed(name);
            }
            done(removed);
        };
        start(std::move(ours), Result<void>(std::unexpected(died())),
              [&](auto wrapped) { inner_->remove(std::move(name), std::move(wrapped)); });
    }
    void create_containers(Done<Result<void>> done) override {
        inner_->create_containers(std::move(done));
    }
    std::size_t poll() override {
        if (!life_.dead) {
            return inner_->poll();
        }
        std::size_t ended = 0;
        for (auto open = std::exchange(open_, {}); auto& operation : open) {
            if (operation->abandon) {
                std::exchange(operation->abandon, nullptr)();
                ++ended;
            }
        }
        return ended;
    }
    void wait(std::int64_t timeout_ns, int wake_fd) override {
        if (!life_.dead) {
            inner_->wait(timeout_ns, wake_fd);
        }
    }
    [[nodiscard]] std::size_t in_flight() const noexcept override {
        return life_.dead ? open_.size() : inner_->in_flight();
    }

private:
    struct Operation {
        std::function<void()> abandon;  // Null once it has been answered.
    };
    // The planted bug: every attempt at a segment goes by one name.
    [[nodiscard]] BlobName stored_name(BlobName name) const {
        constexpr std::size_t attempt_digits = 32;
        if (mutant_ == Mutant::name_without_attempt && name.container == Container::data &&
            name.name.size() > attempt_digits) {
            name.name.replace(name.name.size() - attempt_digits, attempt_digits, attempt_digits,
                              '0');
        }
        return name;
    }
    static ByteVector other_bytes(const PutRequest& request) {
        ByteVector out;
        for (const Bytes part : request.body) {
            out.insert(out.end(), part.begin(), part.end());
        }
        out.back() ^= std::byte{1};
        return out;
    }
    static Error died() { return {Errc::blob_unavailable, "the process is dead"}; }

    template <typename T, typename Start>
    void start(Done<T> done, T if_dead, Start begin) {
        // Shared by the list of open operations and the callback of the store beneath.
        auto operation = std::make_shared<Operation>();
        operation->abandon = [done, if_dead]() { done(if_dead); };
        open_.push_back(operation);
        if (life_.dead) {
            return;
        }
        begin([this, operation, done = std::move(done)](T result) {
            if (operation->abandon) {
                operation->abandon = nullptr;
                open_.remove(operation);
                done(std::move(result));
            }
        });
    }

    std::list<std::shared_ptr<Operation>> open_;
    std::unique_ptr<BlobStore> inner_;
    const ProcessLife& life_;
    StoreWatcher& watcher_;
    Mutant mutant_;
    bool lists_manifests_ = false;   // Only who opens machines does.
    bool seeks_keys_ = false;        // Nothing but keys was asked for last.
    std::set<BlobName> put_before_;  // Only for a planted bug.
};

class ProcessStores final : public StoreFactory {
public:
    ProcessStores(std::unique_ptr<StoreFactory> inner, const ProcessLife& life,
                  StoreWatcher& watcher, Mutant mutant)
        : inner_(std::move(inner)), life_(life), watcher_(watcher), mutant_(mutant) {}
    std::unique_ptr<BlobStore> make() override {
        return std::make_unique<ProcessStore>(inner_->make(), life_, watcher_, mutant_);
    }
    [[nodiscard]] std::string describe() const override { return inner_->describe(); }

private:
    std::unique_ptr<StoreFactory> inner_;
    const ProcessLife& life_;
    StoreWatcher& watcher_;
    Mutant mutant_;
};

}  // namespace

std::unique_ptr<StoreFactory> make_process_stores(std::unique_ptr<StoreFactory> inner,
                                                  const ProcessLife& life, StoreWatcher& watcher,
                                                  Mutant mutant) {
    return std::make_unique<ProcessStores>(std::move(inner), life, watcher, mutant);
}

}  // namespace cw::sim
