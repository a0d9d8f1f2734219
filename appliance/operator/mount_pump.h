// MountPump: any thread reads a disk as it was at a point; one thread of its own owns the store and
// the reader, and keeps every reader's ranges in flight at once.
//
// Small reads (a guest that boots) are served from a cache of recently opened blocks.
// Thread-safety: read() and the rest from any thread after open(); destruction after all reads.
#pragma once

#include "appliance/read_access.h"

#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace cw::appliance {

struct MountSource {
    std::string config_path, machine, point = "latest", disk;
    bool accept_stale = false;
};

class MountPump {
public:
    // Errors: those of open_catalog, find_point, find_disk, PointSource::open.
    static Result<std::unique_ptr<MountPump>> open(const MountSource& source);
    ~MountPump();
    MountPump(const MountPump&) = delete;
    MountPump& operator=(const MountPump&) = delete;

    [[nodiscard]] std::uint64_t size_bytes() const noexcept { return image_->size_bytes(); }
    // Blocks. The range lies within the disk. Errors: those of the image.
    Result<void> read(std::uint64_t offset, MutableBytes out);

    using Extent = recovery::Image::Extent;
    // What is known to be zero without reading; from `offset` on, in order, at most `count_max`.
    [[nodiscard]] std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                                              std::size_t count_max) const;

private:
    struct Read {
        std::uint64_t offset = 0;
        MutableBytes out;
        std::optional<Result<void>> result;
    };
    using Block = std::shared_ptr<const ByteVector>;

    MountPump() = default;
    void run();
    Result<void> read_through(std::uint64_t offset, MutableBytes out);
    Result<Block> block_at(std::uint64_t offset);

    SystemSeams seams_;
    OpenedCatalog opened_;
    std::unique_ptr<recovery::Image> image_;
    int wake_fd_ = -1;

    std::mutex mutex_;
    std::condition_variable finished_;
    std::vector<Read*> queue_;
    bool stopping_ = false;

    std::mutex cache_mutex_;
    std::list<std::uint64_t> recent_;  // Newest first.
    std::map<std::uint64_t, std::pair<Block, std::list<std::uint64_t>::iterator>> blocks_;
    std::jthread thread_;  // Last: it uses the rest.
};

}  // namespace cw::appliance
