// How a file that somebody asked for is held while it is written, by whichever program and whatever
// writes it (OutputFile, qemu-img): `OUTPUT.partial` is written and gets the name OUTPUT when it is
// whole; `OUTPUT.partial.lock` is held meanwhile. Of two commands that wrote it at once, the second
// would remove what the first has made. So whoever holds it removes a partial file that he finds:
// it was left by a command that was killed.
//
// A lock on the partial file itself would be in QEMU's own way where locks travel (NFS). A device
// has neither: it is opened for one alone.
#pragma once

#include "base/held_file.h"

#include <optional>
#include <string>

namespace cw::recovery {

std::string partial_of(const std::string& output);

// Refuses an OUTPUT that somebody has locked, as a virtual machine does that runs from it: it would
// go on in a file without a name. None: the directory is not there, so nothing can be written, as
// its writer will say. Errors: in_use, target_unsafe, io_error.
Result<std::optional<LockFile>> hold_output(const std::string& output);

}  // namespace cw::recovery
