// Image: any byte range of a disk at a recovery point, wherever the point is kept: in the segments
// of a vault (ImageReader), or in what a master target has collected. Who writes it to a file,
// serves it or checks it does not know which.
//
// Thread-safety: none; belongs to one thread.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace cw::recovery {

inline constexpr std::int64_t image_wait_slice_ns = 100'000'000;

struct ByteRange {
    std::uint64_t offset = 0, length = 0;
};

struct ReaderOptions {
    std::size_t download_threads = 4;         // Requests in flight, 1–32.
    std::uint64_t memory_bytes = 1024 * mib;  // For the map of what is read; out_of_budget beyond.
};

class Image {
public:
    virtual ~Image() = default;

    [[nodiscard]] virtual std::uint64_t size_bytes() const noexcept = 0;
    struct Extent {
        std::uint64_t length = 0;
        bool zero = false;
    };
    // What is known to be zero without reading: the range from `offset` on, in order, at most
    // `count_max` extents. The range lies within the disk.
    [[nodiscard]] virtual std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                                                      std::size_t count_max) const = 0;

    struct Wanted {
        std::uint64_t offset = 0;
        MutableBytes out;
    };
    // Fills every `out` with the bytes at its `offset` (ranges within the disk); `done` runs inside
    // a later poll(), once for all. `out` is borrowed until then. After an error the content is
    // undefined. What several of them touch is fetched once.
    virtual void read_later(const std::vector<Wanted>& wanted,
                            std::function<void(Result<void>)> done) = 0;
    // Runs finished reads; returns how many operations moved.
    virtual std::size_t poll() = 0;
    // Waits until poll() has work, at most `timeout_ns`.
    virtual void wait(std::int64_t timeout_ns) = 0;
    // Blocking forms of read_later().
    Result<void> read(std::uint64_t offset, MutableBytes out) { return read({{offset, out}}); }
    Result<void> read(const std::vector<Wanted>& wanted) {
        std::optional<Result<void>> result;
        read_later(wanted, [&result](Result<void> done) { result.emplace(std::move(done)); });
        while (!result) {
            wait(image_wait_slice_ns);
            poll();
        }
        return *result;
    }

    // What the reads have brought from a vault so far.
    [[nodiscard]] virtual std::uint64_t fetched_bytes() const noexcept = 0;
    [[nodiscard]] virtual std::uint64_t requests() const noexcept = 0;
};

}  // namespace cw::recovery
