// A disk in memory whose state at a moment costs only what is written afterwards: pieces are shared
// until one of their holders writes.
//
// For one thread.
#pragma once

#include "agent/scan/block_image.h"
#include "base/ids.h"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::sim {

// The content of a disk. Copies share their pieces.
class SharedBytes {
public:
    explicit SharedBytes(std::uint64_t size);
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    void read(std::uint64_t offset, MutableBytes out) const;
    void write(std::uint64_t offset, Bytes bytes);
    void zero(std::uint64_t offset, std::uint64_t length);
    // The first byte that differs; nullopt: all are the same. `bytes` has this size.
    [[nodiscard]] std::optional<std::uint64_t> first_difference(Bytes bytes) const;
    friend bool operator==(const SharedBytes& a, const SharedBytes& b);

private:
    static constexpr std::uint64_t piece_bytes = 4 * kib;
    using Piece = std::array<std::byte, piece_bytes>;  // nullptr: zeros.
    template <typename Action>
    static void for_pieces(std::uint64_t offset, std::uint64_t length, Action action);
    Piece& own(std::size_t index);

    std::uint64_t size_;
    std::vector<std::shared_ptr<Piece>> pieces_;
};

class SharedImage final : public agent::BlockImage {
public:
    explicit SharedImage(std::uint64_t size) : bytes_(size) {}
    explicit SharedImage(SharedBytes bytes) : bytes_(std::move(bytes)) {}
    std::uint64_t size() const noexcept override { return bytes_.size(); }
    Result<void> read(std::uint64_t offset, MutableBytes out) override;
    Result<void> write(std::uint64_t offset, Bytes in) override;
    Result<void> zero(std::uint64_t offset, std::uint64_t length, bool unmap) override;
    Result<void> flush() override { return {}; }
    std::string fingerprint() const override { return "memory"; }
    [[nodiscard]] const SharedBytes& bytes() const noexcept { return bytes_; }

private:
    SharedBytes bytes_;
};

}  // namespace cw::sim
