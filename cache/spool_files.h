// The spool's two files: spool.log, the log of fixed size, and spool.id, which says whose it is.
//
// Creation is finished when spool.log has its name: it is written as spool.log.new, then spool.id
// is put beside it, then it is renamed. So a directory with one of the two only has been tampered
// with, or is not ours.
#pragma once

#include "cache/spool.h"
#include "cache/spool_format.h"

namespace cw::cache {

struct SpoolFiles {
    std::unique_ptr<File> log;  // Opened direct, for writing.
    Superblock superblock;
    bool created = false;
};

std::string log_path(const std::string& directory);
std::string id_path(const std::string& directory);

// Errors: as Spool::open().
Result<SpoolFiles> open_spool_files(const SpoolOptions& options, Disk& disk, Random& random);

}  // namespace cw::cache
