// Certificates that no honest authority would issue, signed by the tests' CA or by nobody.
#pragma once

#include "base/tls.h"

#include <string>

namespace cw::test {

struct Forgery {
    std::string alt_names = "URI:urn:causeway:machine:77777777-7777-7777-7777-777777777777";
    std::string key_usage = "clientAuth";  // Extended; empty: none.
    bool self_signed = false;
    bool authority = false;           // Says CA:TRUE.
    std::int64_t valid_from_s = -60;  // Relative to now.
};

// Writes `<ca_directory>/forged-<name>.crt` and `.key`.
TlsFiles forge_certificate(const std::string& ca_directory, const std::string& name,
                           const Forgery& forgery);

}  // namespace cw::test
