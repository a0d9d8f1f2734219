// A disk in memory. Thread-safe the way a real one is: overlapping writes are the caller's
// business.
#pragma once

#include "agent/scan/block_image.h"

#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>

namespace cw::agent::test {

class MemoryImage final : public BlockImage {
public:
    explicit MemoryImage(std::uint64_t size) : bytes_(size) {}
    std::uint64_t size() const noexcept override { return bytes_.size(); }
    std::uint64_t size_beneath() const noexcept override { return size() + grown_by; }
    Result<void> read(std::uint64_t offset, MutableBytes out) override {
        CW_ASSERT(offset + out.size() <= bytes_.size());
        if (reads_left == 0) {
            return fail(Errc::source_gone, "pulled out");
        }
        --reads_left;
        const std::lock_guard lock(mutex_);
        std::memcpy(out.data(), bytes_.data() + offset, out.size());
        return {};
    }
    Result<void> write(std::uint64_t offset, Bytes in) override {
        CW_ASSERT(offset + in.size() <= bytes_.size());
        if (before_write) {
            before_write();
        }
        if (fail_writes) {
            return fail(Errc::io_error, "told to fail");
        }
        const std::lock_guard lock(mutex_);
        std::memcpy(bytes_.data() + offset, in.data(), in.size());
        return {};
    }
    Result<void> zero(std::uint64_t offset, std::uint64_t length, bool) override {
        const std::lock_guard lock(mutex_);
        std::memset(bytes_.data() + offset, 0, length);
        return {};
    }
    Result<void> flush() override { return {}; }
    std::string fingerprint() const override { return print; }
    [[nodiscard]] ByteVector copy() const {
        const std::lock_guard lock(mutex_);
        return bytes_;
    }

    std::string print = "memory";
    std::function<void()> before_write;  // By the writing thread; may take its time.
    bool fail_writes = false;
    std::uint64_t grown_by = 0;
    std::atomic<std::uint64_t> reads_left = UINT64_MAX;  // Then it is gone.

private:
    mutable std::mutex mutex_;
    ByteVector bytes_;
};

}  // namespace cw::agent::test
