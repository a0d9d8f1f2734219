#include "egress/upload/pulse_store.h"

#include <utility>

namespace cw::upload {

// Goes in or comes out, and back again at the end of the scope.
class PulseStore::Passage {
public:
    Passage(PulseStore& store, bool inside) noexcept
        : store_(store), before_(store.inside_.exchange(inside)) {
        beat();
    }
    ~Passage() {
        beat();
        store_.inside_.store(before_);
    }
    Passage(const Passage&) = delete;
    Passage& operator=(const Passage&) = delete;

private:
    void beat() noexcept { store_.beat_.store(raw(store_.clock_.boot())); }

    PulseStore& store_;
    const bool before_;
};

template <typename Value>
blob::Done<Value> PulseStore::outside(blob::Done<Value> done) {
    return [this, done = std::move(done)](Value value) {
        const Passage out(*this, false);
        done(std::move(value));
    };
}

PulseStore::PulseStore(std::unique_ptr<blob::BlobStore> inner, Clock& clock)
    : inner_(std::move(inner)), clock_(clock), beat_(raw(clock.boot())) {}

void PulseStore::put(blob::PutRequest request, blob::Done<blob::PutResult> done) {
    const Passage in(*this, true);
    inner_->put(std::move(request), outside(std::move(done)));
}

void PulseStore::get(blob::GetRequest request, blob::Done<Result<blob::GetResult>> done) {
    const Passage in(*this, true);
    inner_->get(std::move(request), outside(std::move(done)));
}

void PulseStore::head(blob::BlobName name, blob::Done<Result<blob::BlobProperties>> done) {
    const Passage in(*this, true);
    inner_->head(std::move(name), outside(std::move(done)));
}

void PulseStore::list(blob::Container container, std::string prefix, std::string marker,
                      blob::Done<Result<blob::ListPage>> done) {
    const Passage in(*this, true);
    inner_->list(container, std::move(prefix), std::move(marker), outside(std::move(done)));
}

void PulseStore::remove(blob::BlobName name, blob::Done<Result<void>> done) {
    const Passage in(*this, true);
    inner_->remove(std::move(name), outside(std::move(done)));
}

void PulseStore::create_containers(blob::Done<Result<void>> done) {
    const Passage in(*this, true);
    inner_->create_containers(outside(std::move(done)));
}

std::size_t PulseStore::poll() {
    const Passage in(*this, true);
    return inner_->poll();
}

void PulseStore::wait(std::int64_t timeout_ns, int wake_fd) {
    const Passage in(*this, true);
    inner_->wait(timeout_ns, wake_fd);
}

}  // namespace cw::upload
