// SPOOL_FULL at a command: the code speaks of a server's cache, and a command writes files of its
// own (an image, a scratch directory, what differs). What is full is where those lie.
// Thread-safety: free functions without state.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace cw::recovery {

// Says in the detail of a spool_full which directory is full, how much room it has for this file
// and how much that may take; other errors stay as they are. `written_to`: where it is written
// until it is whole, and which is removed again; `bytes`: of the whole disk.
Error name_full_output(Error error, const std::string& path, const std::string& written_to,
                       std::uint64_t bytes);

// As cause_of, advice_of and to_string, of an error that ended a command.
std::string_view command_cause_of(Errc code) noexcept;
std::string_view command_advice_of(const Error& error) noexcept;
std::string command_text(const Error& error);

}  // namespace cw::recovery
