// The text of a KEK: 64 hex digits in a file, or the four lines of a printed kit, each with digits
// that tell a slip of the pen. Either is what a key file may hold.
#pragma once

#include "base/crypto.h"
#include "base/disk.h"
#include "base/secret.h"

#include <string>
#include <string_view>

namespace cw::vault {

// "key 1  0123 4567 89ab cdef  check 0f1e" and three more.
Secret<std::string> kit_lines(const Secret<Key256>& key);
// White space and other lines around a kit's are ignored. Errors: key_unavailable (naming the line
// of a kit that is mistyped or missing, never what it says).
Result<Secret<Key256>> parse_kek_text(std::string_view text);
// Errors: key_unavailable (also: the file may be read by others).
Result<Secret<Key256>> read_kek_file(Disk& disk, const std::string& path);

}  // namespace cw::vault
