// A SimDisk that loses power at the n-th operation that changes something. Afterwards every call
// fails, as for a process that is gone.
#pragma once

#include "tests/fakes/sim_disk.h"

#include <cerrno>
#include <vector>

namespace cw::volume::test {

class CutDisk final : public Disk {
public:
    CutDisk(fakes::SimStorage& storage, std::uint64_t cut_at)
        : storage_(storage), inner_(storage.make_disk()), left_(cut_at) {}

    [[nodiscard]] bool cut() const noexcept { return cut_; }
    [[nodiscard]] std::uint64_t operations() const noexcept { return operations_; }

    std::string read_only;  // A file that nobody may write.

    Result<std::unique_ptr<File>> open(const std::string& path, OpenOptions options) override {
        if (options.write && path == read_only) {
            return fail_errno(Errc::io_error, "open " + path, EROFS);
        }
        return change() ? inner_->open(path, options) : gone();
    }
    Result<void> create_directories(const std::string& path) override {
        return change() ? inner_->create_directories(path) : gone();
    }
    Result<void> rename(const std::string& from, const std::string& to) override {
        return change() ? inner_->rename(from, to) : gone();
    }
    Result<void> remove(const std::string& path) override {
        return change() ? inner_->remove(path) : gone();
    }
    Result<std::vector<std::string>> list(const std::string& path) override {
        return cut_ ? gone() : inner_->list(path);
    }
    Result<void> sync_directory(const std::string& path) override {
        return change() ? inner_->sync_directory(path) : gone();
    }
    Result<bool> exists(const std::string& path) override {
        return cut_ ? gone() : inner_->exists(path);
    }
    Result<void> resize(File& file, std::uint64_t bytes, bool allocate) override {
        return change() ? inner_->resize(file, bytes, allocate) : gone();
    }
    Result<std::uint64_t> free_bytes(const std::string& path) override {
        return cut_ ? gone() : inner_->free_bytes(path);
    }
    void start(DiskRequest& request) override {
        if (request.op == DiskOp::read ? !cut_ : change()) {
            inner_->start(request);
        } else {
            failed_.push_back(&request);
        }
    }
    std::size_t poll() override {
        const auto failed = std::exchange(failed_, {});
        for (DiskRequest* request : failed) {
            request->result = -EIO;
            request->done(*request);
        }
        return failed.size() + (cut_ ? 0 : inner_->poll());
    }
    void wait(std::int64_t timeout_ns) override {
        if (!cut_) {
            inner_->wait(timeout_ns);
        }
    }
    [[nodiscard]] std::size_t in_flight() const noexcept override {
        return failed_.size() + (cut_ ? 0 : inner_->in_flight());
    }

private:
    static std::unexpected<Error> gone() { return fail(Errc::io_error, "the power is gone"); }
    bool change() {
        if (cut_) {
            return false;
        }
        ++operations_;
        if (left_ > 0 && --left_ == 0) {
            cut_ = true;
            storage_.power_cut();
            return false;
        }
        return true;
    }
    fakes::SimStorage& storage_;
    std::unique_ptr<fakes::SimDisk> inner_;
    std::uint64_t left_;  // 0: never
    std::uint64_t operations_ = 0;
    bool cut_ = false;
    std::vector<DiskRequest*> failed_;
};

}  // namespace cw::volume::test
