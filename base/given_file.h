// A file that a person names for one reading: a configuration, a plan, a key, a credential. It may
// be a pipe too: `--config <(…)`, /dev/stdin. What is read again and again (a list of revocations,
// a program's own state) is read with read_file(), which refuses what gives its content only once.
#pragma once

#include "base/disk.h"
#include "base/error.h"

#include <cstddef>
#include <string>

namespace cw {

// All of it, to its end. A pipe or terminal is waited for, a minute for each part of it at the
// longest; a device without an end (/dev/zero) is refused as too long. Blocks; any thread that may
// use `disk`. Errors: those of read_file(); peer_slow: nothing came any more.
Result<ByteVector> read_given_file(Disk& disk, const std::string& path, std::size_t max);

}  // namespace cw
