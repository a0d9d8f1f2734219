// The file of a seed: raw by ourselves, other formats by a qemu-nbd that lives as long as the
// image. A file from elsewhere is opened as what we are told it is, never guessed, and alone: one
// that wants other files beneath it is refused.
#pragma once

#include "agent/scan/block_image.h"
#include "agent/seed/seed_manifest.h"
#include "base/clock.h"
#include "base/disk.h"

namespace cw::agent {

struct SeedFile {
    std::string path;
    SeedFormat format = SeedFormat::raw;
};

// Read only. Errors: not_found, source_gone (also: qemu-utils is not installed, or does not
// understand the file), size_mismatch, target_unsafe (its data lies in other files).
Result<std::unique_ptr<BlockImage>> open_seed_file(const SeedFile& file, Clock& clock);
// A new one full of zeros; what is there is replaced. flush() makes it durable. Errors: io_error.
Result<std::unique_ptr<BlockImage>> create_seed_file(const SeedFile& file, std::uint64_t size_bytes,
                                                     cw::Disk& disk, Clock& clock);

}  // namespace cw::agent
