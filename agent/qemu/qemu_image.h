// QemuImage: a running virtual machine's disk, read live through QEMU's own NBD export.
//
// Writes do nothing: QEMU has put them on its disk by itself when the mirror brings them here.
// Thread-safety: as BlockImage; reads take one lock.
#pragma once

#include "agent/nbd/nbd_reader.h"
#include "agent/scan/block_image.h"

#include <mutex>

namespace cw::agent {

class QemuImage final : public BlockImage {
public:
    // `tracker` names the bitmaps that track this disk; the fingerprint under which the agent
    // finds them again.
    QemuImage(NbdReader reader, std::string tracker)
        : reader_(std::move(reader)), size_(reader_.size()), tracker_(std::move(tracker)) {}

    std::uint64_t size() const noexcept override { return size_; }
    Result<void> read(std::uint64_t offset, MutableBytes out) override {
        const std::lock_guard guard(mutex_);
        return reader_.read(offset, out);
    }
    Result<void> write(std::uint64_t, Bytes) override { return {}; }
    Result<void> zero(std::uint64_t, std::uint64_t, bool) override { return {}; }
    Result<void> flush() override { return {}; }
    std::string fingerprint() const override { return tracker_; }

private:
    std::mutex mutex_;
    NbdReader reader_;
    const std::uint64_t size_;
    const std::string tracker_;
};

}  // namespace cw::agent
