#include "egress/blob/directory_store.h"

#include "egress/blob/completion_queue.h"
#include "egress/blob/directory_operations.h"

namespace cw::blob {
namespace {

constexpr std::int64_t stale_temporary_s = 24 * 3600;

class DirectoryStore final : public BlobStore {
public:
    explicit DirectoryStore(std::shared_ptr<DirectoryVault> vault)
        : vault_(std::move(vault)), operations_(*vault_) {}

    void put(PutRequest request, Done<PutResult> done) override {
        queue_.push([this, request = std::move(request), done = std::move(done)] {
            done(operations_.put(request));
        });
    }
    void get(GetRequest request, Done<Result<GetResult>> done) override {
        queue_.push([this, request = std::move(request), done = std::move(done)] {
            done(operations_.get(request));
        });
    }
    void head(BlobName name, Done<Result<BlobProperties>> done) override {
        queue_.push([this, name = std::move(name), done = std::move(done)] {
            done(operations_.head(name));
        });
    }
    void list(Container container, std::string prefix, std::string marker,
              Done<Result<ListPage>> done) override {
        queue_.push(
            [this, container, prefix = std::move(prefix), marker = std::move(marker),
             done = std::move(done)] { done(operations_.list(container, prefix, marker)); });
    }
    void remove(BlobName name, Done<Result<void>> done) override {
        queue_.push([this, name = std::move(name), done = std::move(done)] {
            done(operations_.remove(name));
        });
    }
    void create_containers(Done<Result<void>> done) override {
        queue_.push([this, done = std::move(done)] { done(operations_.create_containers()); });
    }
    std::size_t poll() override { return queue_.run(); }
    void wait(std::int64_t timeout_ns, int wake_fd) override { queue_.wait(timeout_ns, wake_fd); }
    [[nodiscard]] std::size_t in_flight() const noexcept override { return queue_.size(); }

private:
    std::shared_ptr<DirectoryVault> vault_;  // With the factory and its other stores.
    DirectoryOperations operations_;
    CompletionQueue queue_;
};

class DirectoryFactory final : public StoreFactory {
public:
    DirectoryFactory(std::string path, std::shared_ptr<DirectoryVault> vault)
        : path_(std::move(path)), vault_(std::move(vault)) {}
    std::unique_ptr<BlobStore> make() override { return std::make_unique<DirectoryStore>(vault_); }
    [[nodiscard]] std::string describe() const override { return "dir://" + path_; }

private:
    std::string path_;
    std::shared_ptr<DirectoryVault> vault_;  // With the stores, which may outlive the factory.
};

}  // namespace

Result<std::unique_ptr<StoreFactory>> make_directory_factory(const DirectoryOptions& options,
                                                             Clock& clock, Random& random) {
    CW_TRY_ASSIGN(DirectoryTree tree, DirectoryTree::open(options.path, options.create));
    tree.sweep_temporaries(static_cast<std::int64_t>(clock.wall()) / 1'000'000 - stale_temporary_s);
    auto vault = std::make_shared<DirectoryVault>(
        DirectoryVault{std::move(tree), clock, random, options.page_entries});
    return std::make_unique<DirectoryFactory>(options.path, std::move(vault));
}

}  // namespace cw::blob
