// RevocationList: certificates that are refused before they expire (a lost laptop, a removed site).
//
// A text file, one entry per line: a serial number in hexadecimal, as `openssl x509 -serial` prints
// it, or an identity (urn:causeway:ROLE:UUID) for all certificates that carry it; `#` begins a
// comment. Thread-safe: read by every handshake and by live connections, replaced by reload().
#pragma once

#include "base/disk.h"
#include "base/error.h"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include <openssl/types.h>

namespace cw {

class RevocationList {
public:
    // Replaces the entries by those of the file; an empty path: by none. An error changes nothing.
    // Errors: config_invalid (naming the line), not_found, io_error.
    Result<void> reload(Disk& disk, const std::string& path);
    Result<void> parse(std::string_view text, const std::string& name);
    [[nodiscard]] bool revoked(const X509* certificate) const;
    // Grows when the entries were replaced: whoever was let in before must be looked at again.
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }

private:
    mutable std::mutex mutex_;
    std::set<std::string, std::less<>> entries_;
    std::atomic<std::uint64_t> generation_{0};
};

// "4a3f…": the certificate's serial number in lower-case hexadecimal, as the list holds it.
std::string serial_of(const X509* certificate);
// That of the first certificate in a PEM file. Errors: tls_failed, io_error, not_found.
Result<std::string> serial_of_file(Disk& disk, const std::string& path);

}  // namespace cw
