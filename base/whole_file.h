// A small file that is made once and never over another: a key.
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

}  // namespace cw
