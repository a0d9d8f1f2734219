#include "tests/sim/peek_store.h"

#include <algorithm>
#include <utility>

namespace cw::sim {
namespace {

using namespace blob;

class PeekStore final : public BlobStore {
public:
    explicit PeekStore(const fakes::MemoryVault& vault) : vault_(vault) {}

    void put(PutRequest, Done<PutResult> done) override {
        finish(std::move(done), PutResult{PutOutcome::refused, {}, read_only()});
    }
    void get(GetRequest request, Done<Result<GetResult>> done) override {
        auto bytes = vault_.bytes(request.name);
        if (!bytes) {
            return finish(std::move(done), Result<GetResult>(std::unexpected(absent())));
        }
        GetResult result;
        result.properties.size = bytes->size();
        const std::uint64_t from = std::min<std::uint64_t>(request.offset, bytes->size());
        const std::uint64_t left = bytes->size() - from;
        const std::uint64_t n = request.length == 0 ? left : std::min(left, request.length);
        const auto begin = bytes->begin() + static_cast<std::ptrdiff_t>(from);
        result.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(n));
        finish(std::move(done), Result<GetResult>(std::move(result)));
    }
    void head(BlobName name, Done<Result<BlobProperties>> done) override {
        const auto bytes = vault_.bytes(name);
        finish(std::move(done),
               bytes ? Result<BlobProperties>(BlobProperties{.size = bytes->size(), .etag = "now"})
                     : Result<BlobProperties>(std::unexpected(absent())));
    }
    void list(Container container, std::string prefix, std::string,
              Done<Result<ListPage>> done) override {
        ListPage page;
        for (const BlobName& name : vault_.names()) {
            if (name.container == container && name.name.starts_with(prefix)) {
                page.entries.push_back({.name = name.name, .size = vault_.bytes(name)->size()});
            }
        }
        std::ranges::sort(page.entries, {}, &ListPage::Entry::name);
        finish(std::move(done), Result<ListPage>(std::move(page)));
    }
    void remove(BlobName, Done<Result<void>> done) override {
        finish(std::move(done), Result<void>(std::unexpected(read_only())));
    }
    void create_containers(Done<Result<void>> done) override {
        finish(std::move(done), Result<void>(std::unexpected(read_only())));
    }
    std::size_t poll() override {
        const auto ready = std::exchange(ready_, {});
        for (const auto& call : ready) {
            call();
        }
        return ready.size();
    }
    void wait(std::int64_t, int) override {}
    [[nodiscard]] std::size_t in_flight() const noexcept override { return ready_.size(); }

private:
    static Error absent() { return {Errc::blob_not_found, "it is not there"}; }
    static Error read_only() { return {Errc::blob_denied, "who only looks writes nothing"}; }
    template <typename T>
    void finish(Done<T> done, T result) {
        ready_.push_back([done = std::move(done), result = std::move(result)] { done(result); });
    }

    const fakes::MemoryVault& vault_;
    std::vector<std::function<void()>> ready_;
};

}  // namespace

std::unique_ptr<blob::BlobStore> make_peek_store(const fakes::MemoryVault& vault) {
    return std::make_unique<PeekStore>(vault);
}

}  // namespace cw::sim
