// Small files that are made once and never over another, and keep their names apart: keys.
// Thread-safety: free functions without state.
#pragma once

#include "base/disk.h"
#include "base/random.h"

#include <string>

namespace cw {

// Makes the file at `path` with `bytes` in it, durably: it is there whole or not at all, whatever
// runs full or goes down meanwhile, and what is there already stays, whoever made it and when.
// `mode` as in chmod, from the first byte. What a run that was cut short left beside it goes.
// `random` names what is written until it is whole. Errors: file_exists, disk_full, io_error.
Result<void> create_file_atomically(Disk& disk, Random& random, const std::string& path,
                                    Bytes bytes, unsigned mode);

// Renames durably, never over another, whoever makes that one and when. Errors: file_exists,
// disk_full, io_error.
Result<void> give_free_name(Disk& disk, const std::string& from, const std::string& to);

// Removes what create_file_atomically() left, cut short, of all names that begin with `prefix`. For
// whoever knows that nobody makes one of them now.
void remove_left_overs(Disk& disk, const std::string& prefix);

}  // namespace cw
