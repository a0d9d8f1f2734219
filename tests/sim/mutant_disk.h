// Planted bugs of whoever uses the disk: a Disk that lies in the way the bug would.
// Thread-safety: none, like every Disk.
#pragma once

#include "base/disk.h"
#include "tests/sim/mutants.h"

#include <memory>
#include <set>
#include <vector>

namespace cw::sim {

// Hands everything to the disk beneath, except what the mutant does otherwise.
class MutantDisk final : public Disk {
public:
    // `starting`: the process has not come up yet; outlives the disk.
    MutantDisk(std::unique_ptr<Disk> inner, Mutant mutant, const bool& starting)
        : inner_(std::move(inner)), mutant_(mutant), starting_(starting) {}
    ~MutantDisk() override;
    MutantDisk(const MutantDisk&) = delete;
    MutantDisk& operator=(const MutantDisk&) = delete;

    Result<std::unique_ptr<File>> open(const std::string& path, OpenOptions options) override;
    Result<void> create_directories(const std::string& path) override {
        return inner_->create_directories(path);
    }
    Result<void> rename(const std::string& from, const std::string& to) override {
        return inner_->rename(from, to);
    }
    Result<void> remove(const std::string& path) override { return inner_->remove(path); }
    Result<std::vector<std::string>> list(const std::string& directory) override {
        return inner_->list(directory);
    }
    Result<void> sync_directory(const std::string& directory) override;
    Result<bool> exists(const std::string& path) override { return inner_->exists(path); }
    Result<void> resize(File& file, std::uint64_t bytes, bool allocate) override {
        return inner_->resize(file, bytes, allocate);
    }
    Result<std::uint64_t> free_bytes(const std::string& directory) override {
        return inner_->free_bytes(directory);
    }
    void start(DiskRequest& request) override;
    std::size_t poll() override;
    void wait(std::int64_t timeout_ns) override { inner_->wait(timeout_ns); }
    [[nodiscard]] std::size_t in_flight() const noexcept override {
        return inner_->in_flight() + skipped_.size();
    }

private:
    // Stands in for a request whose failure is hidden from its owner.
    struct Retry {
        DiskRequest request;
        DiskRequest* original;
        MutantDisk* disk;
        bool again = false;
    };
    // "What I have just read is there": nothing is written again.
    [[nodiscard]] bool skips(const DiskRequest& request) const;
    static void first_done(DiskRequest& request);

    std::unique_ptr<Disk> inner_;
    Mutant mutant_;
    const bool& starting_;
    std::vector<std::unique_ptr<Retry>> retries_;
    std::set<const File*> found_;        // Files that were there before.
    std::vector<DiskRequest*> skipped_;  // Not yet answered.
};

}  // namespace cw::sim
