// The spool's two files: spool.log, the log of fixed size, and spool.id, which says whose it is.
//
// Creation is finished when spool.log has its name: it is written as spool.log.new, then spool.id
// is put beside it, then it is renamed. So a directory with one of the two only has been tampered
// with, or is not ours.
#pragma once

#include "cache/spool.h"
#include "cache/spool_format.h"

#include <array>

namespace cw::cache {

struct SpoolFiles {
    std::unique_ptr<File> log;  // Opened direct, for writing.
    Superblock superblock;
    bool created = false;
    std::array<bool, 2> superblock_damaged{};  // Of two copies, not both.
};

std::string log_path(const std::string& directory);
std::string id_path(const std::string& directory);

// Writes nothing to a log that exists: see repair_superblocks(). Errors: as Spool::open().
Result<SpoolFiles> open_spool_files(const SpoolOptions& options, Disk& disk, Random& random);

// Writes the copies again that are damaged. Only when a checkpoint vouches for all that was found:
// the device may put this write, too, where the newest batch lies, and of a batch for which nothing
// vouches nobody can tell that it was more than a torn tail. Errors: io_error.
Result<void> repair_superblocks(Disk& disk, File& log, const Superblock& superblock,
                                const std::array<bool, 2>& damaged);

}  // namespace cw::cache
