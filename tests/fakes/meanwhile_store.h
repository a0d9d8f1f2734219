// A store in which something happens after each answer to a get, before the caller hears of it:
// what another server, collector or operator does between a look and what follows from it.
#pragma once

#include "egress/blob/store.h"

#include <functional>
#include <utility>

namespace cw::fakes {

// `inner` must outlive it. Thread-safety: none.
class MeanwhileStore final : public blob::BlobStore {
public:
    using Meanwhile = std::function<void(const blob::BlobName& looked_at)>;
    MeanwhileStore(blob::BlobStore& inner, Meanwhile meanwhile)
        : inner_(inner), meanwhile_(std::move(meanwhile)) {}
    void put(blob::PutRequest request, blob::Done<blob::PutResult> done) override {
        inner_.put(std::move(request), std::move(done));
    }
    void get(blob::GetRequest request, blob::Done<Result<blob::GetResult>> done) override {
        const blob::BlobName name = request.name;
        inner_.get(std::move(request), [this, name, done = std::move(done)](auto got) {
            meanwhile_(name);
            done(std::move(got));
        });
    }
    void head(blob::BlobName name, blob::Done<Result<blob::BlobProperties>> done) override {
        inner_.head(std::move(name), std::move(done));
    }
    void list(blob::Container container, std::string prefix, std::string marker,
              blob::Done<Result<blob::ListPage>> done) override {
        inner_.list(container, std::move(prefix), std::move(marker), std::move(done));
    }
    void remove(blob::BlobName name, blob::Done<Result<void>> done) override {
        inner_.remove(std::move(name), std::move(done));
    }
    void create_containers(blob::Done<Result<void>> done) override {
        inner_.create_containers(std::move(done));
    }
    std::size_t poll() override { return inner_.poll(); }
    void wait(std::int64_t timeout_ns, int wake_fd) override { inner_.wait(timeout_ns, wake_fd); }
    [[nodiscard]] std::size_t in_flight() const noexcept override { return inner_.in_flight(); }

private:
    blob::BlobStore& inner_;
    Meanwhile meanwhile_;
};

}  // namespace cw::fakes
