#include "tests/sim/mutant_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cw::sim {

MutantDisk::~MutantDisk() = default;

Result<std::unique_ptr<File>> MutantDisk::open(const std::string& path, OpenOptions options) {
    if (mutant_ == Mutant::trusts_page_cache) {
        options.direct = false;
        auto file = inner_->open(path, options);
        if (file && !options.create) {
            found_.insert(file->get());
        } else if (file) {
            found_.erase(file->get());  // Of a file that has been closed.
        }
        return file;
    }
    return inner_->open(path, options);
}

Result<void> MutantDisk::sync_directory(const std::string& directory) {
    return mutant_ == Mutant::unsynced_directory ? Result<void>{}
                                                 : inner_->sync_directory(directory);
}

bool MutantDisk::skips(const DiskRequest& request) const {
    return mutant_ == Mutant::trusts_page_cache && starting_ && request.op != DiskOp::read &&
           found_.contains(request.file);
}

std::size_t MutantDisk::poll() {
    std::size_t done = inner_->poll();
    for (DiskRequest* const request : std::exchange(skipped_, {})) {
        request->result = 0;
        for (unsigned i = 0; i < request->part_count; ++i) {
            request->result += static_cast<std::int64_t>(request->parts[i].iov_len);
        }
        request->done(*request);
        ++done;
    }
    return done;
}

void MutantDisk::start(DiskRequest& request) {
    const bool syncs = request.op == DiskOp::sync || request.durable;
    if (skips(request)) {
        skipped_.push_back(&request);
        return;
    }
    if (mutant_ == Mutant::ack_before_sync && request.op == DiskOp::write) {
        request.durable = false;
    } else if ((mutant_ == Mutant::sync_error_retried && syncs) ||
               (mutant_ == Mutant::unread_is_zero && request.op == DiskOp::read)) {
        auto retry = std::make_unique<Retry>(Retry{request, &request, this});
        retry->request.done = first_done;
        retry->request.context = retry.get();
        inner_->start(retry->request);
        retries_.push_back(std::move(retry));
        return;
    }
    inner_->start(request);
}

// "It may have been a hiccup": the sync is asked for again, and the kernel, which has forgotten the
// failure, says that all is well.
void MutantDisk::first_done(DiskRequest& request) {
    auto& retry = *static_cast<Retry*>(request.context);
    MutantDisk& disk = *retry.disk;
    if (request.result < 0 && request.op == DiskOp::read) {
        request.result = 0;
        for (unsigned i = 0; i < request.part_count; ++i) {
            std::memset(request.parts[i].iov_base, 0, request.parts[i].iov_len);
            request.result += static_cast<std::int64_t>(request.parts[i].iov_len);
        }
    } else if (request.result < 0 && !retry.again) {
        retry.again = true;
        retry.request.op = DiskOp::sync;
        retry.request.durable = false;
        disk.inner_->start(retry.request);
        return;
    }
    DiskRequest& original = *retry.original;
    original.result = request.result;
    if (retry.again && request.result >= 0 && original.op == DiskOp::write) {
        for (unsigned i = 0; i < original.part_count; ++i) {
            original.result += static_cast<std::int64_t>(original.parts[i].iov_len);
        }
    }
    const auto mine = std::ranges::find(disk.retries_, &retry, &std::unique_ptr<Retry>::get);
    const std::unique_ptr<Retry> keep = std::move(*mine);
    disk.retries_.erase(mine);
    original.done(original);
}

}  // namespace cw::sim
