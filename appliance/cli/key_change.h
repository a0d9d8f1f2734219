// Changing the key file of a vault: keys rotate, and keys retire, which says when the old one may
// be destroyed.
#pragma once

#include "appliance/cli/cli.h"

namespace cw::appliance {

// The longest that a write which nobody waits for any more can stay under way and land after all:
// the object store gives up on a small object within ten minutes.
inline constexpr std::int64_t late_write_s = 15 * 60;

// A new key file; every key of the vault is wrapped by it. The daemon must not run.
// Both files are looked at before anything is changed: a pipe gives its key only once, and is
// refused. Errors: in_use, those of open_kek_file, of the store and of rotate_kek.
Result<void> rotate_kek_file(Cli& cli);
// Wraps anew what the key in `old` still wraps, and says whether that file may be destroyed: when
// nothing was found that it wraps, `late_write_s` after the change and after anything was found.
// Errors: usage (not the name that keys rotate gave it), and as before.
Result<void> retire_kek_file(Cli& cli, const std::string& old);

}  // namespace cw::appliance
