#include "tests/blob/rigs_local.h"

#include "base/random.h"
#include "egress/blob/directory_store.h"
#include "tests/fakes/memory_vault.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::blob {
namespace {

class DirectoryRig final : public Rig {
public:
    DirectoryRig() {
        static int made = 0;
        path_ = testing::TempDir() + "cw-blob-" + std::to_string(::getpid()) + "-" +
                std::to_string(made++);
        auto factory = make_directory_factory({.path = path_, .create = true, .page_entries = 20},
                                              clock_, *random_);
        CW_ASSERT(factory.has_value());
        factory_ = std::move(*factory);
    }
    ~DirectoryRig() override { std::filesystem::remove_all(path_); }
    DirectoryRig(const DirectoryRig&) = delete;
    DirectoryRig& operator=(const DirectoryRig&) = delete;
    StoreFactory& factory() override { return *factory_; }

private:
    std::string path_;
    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(1);
    std::unique_ptr<StoreFactory> factory_;
};

class MemoryRig final : public Rig {
public:
    StoreFactory& factory() override { return *factory_; }

private:
    ManualClock clock_;
    fakes::MemoryVault vault_{clock_, {.seed = 1, .shuffle = true, .page_entries = 20}};
    std::unique_ptr<StoreFactory> factory_ = vault_.factory();
};

}  // namespace

std::unique_ptr<Rig> make_directory_rig() {
    return std::make_unique<DirectoryRig>();
}
std::unique_ptr<Rig> make_memory_rig() {
    return std::make_unique<MemoryRig>();
}

}  // namespace cw::blob
