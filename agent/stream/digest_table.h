// DigestTable: the fingerprint of every 64 KiB block as it was last logged or read as BASE, so that
// a scan finds what changed. A file beside the dirty map, under a secret of its own. It is believed
// only where the dirty map is (same rules), so it needs no syncs: a block whose record was lost
// with the process is dirty, and read again whatever stands here. Thread-safety: none; the agent's
// loop.
#pragma once

#include "agent/scan/block_set.h"
#include "base/checksum.h"
#include "base/disk.h"
#include "base/random.h"

#include <memory>
#include <string>

namespace cw::agent {

class DigestTable {
public:
    static constexpr std::size_t blocks_per_super = super_bytes / map_block_bytes;

    // Opens or, with `fresh` or when it does not fit, makes an empty one: everything then differs.
    static Result<DigestTable> open(Disk& disk, Random& random, const std::string& path,
                                    std::uint64_t size_bytes, bool fresh);

    // Loads the row of one super-chunk; different() and set() work on it; store() writes it back if
    // it changed. Errors: io_error.
    Result<void> load(std::uint32_t ordinal);
    [[nodiscard]] bool different(std::size_t index, Bytes block) const;
    void set(std::size_t index, Bytes block);
    Result<void> store();

private:
    DigestTable(Disk& disk, std::string path, std::unique_ptr<File> file)
        : disk_(&disk), path_(std::move(path)), file_(std::move(file)) {}
    Result<void> write(std::uint64_t offset, Bytes bytes);

    Disk* disk_;
    std::string path_;
    std::unique_ptr<File> file_;
    FingerprintSecret secret_{};
    std::uint32_t ordinal_ = UINT32_MAX;
    bool changed_ = false;
    std::array<Fingerprint, blocks_per_super> row_{};  // Zeros: unknown.
};

}  // namespace cw::agent
