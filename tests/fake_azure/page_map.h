// The pages of one page blob: sparse, in chunks of 64 KiB, each page of 512 bytes written or not.
#pragma once

#include "base/bytes.h"

#include <array>
#include <bitset>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace cw::fake_azure {

inline constexpr std::uint64_t page_bytes = 512;

class PageMap {
public:
    // Offsets and lengths are multiples of page_bytes.
    void write(std::uint64_t offset, Bytes bytes);
    void clear(std::uint64_t offset, std::uint64_t length);
    void read(std::uint64_t offset, MutableBytes out) const;
    // Written ranges within [offset, end), joined, as (offset, length).
    [[nodiscard]] std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges(
        std::uint64_t offset, std::uint64_t end) const;

private:
    static constexpr std::uint64_t chunk_bytes = 64 * 1024;
    struct Chunk {
        std::array<std::byte, chunk_bytes> bytes{};
        std::bitset<chunk_bytes / page_bytes> written;
    };
    std::map<std::uint64_t, std::shared_ptr<Chunk>> chunks_;  // By offset / chunk_bytes.
};

}  // namespace cw::fake_azure
