// The console: a page for a browser that shows an operator's certificate, served at / of the
// control port. Its files lie in appliance/console/ and are compiled in: it asks nobody but this
// server.
#pragma once

#include <cstddef>
#include <string_view>

namespace cw::appliance {

struct ConsoleFile {
    const char* path;
    const char* type;
    std::string_view content;
};
inline constexpr std::size_t console_file_count = 3;
extern const ConsoleFile console_files[console_file_count];

// Nothing but these files runs in the page, it talks to this server only, and nobody frames it.
inline constexpr const char* console_policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace cw::appliance
