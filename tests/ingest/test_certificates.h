// A certificate authority and certificates for tests, in a directory that is removed with it.
#pragma once

#include "base/tls.h"

#include <string>

namespace cw::test {

class TestCertificates {
public:
    TestCertificates();
    ~TestCertificates();
    TestCertificates(const TestCertificates&) = delete;
    TestCertificates& operator=(const TestCertificates&) = delete;

    // The files of a certificate for `identity`, made on first use. `valid_seconds` may only be set
    // then.
    TlsFiles files(const Identity& identity, std::int64_t valid_seconds = 3600);
    TlsFiles server() { return files({Role::process_server, {std::byte{1}}}); }
    TlsFiles machine(std::uint8_t seed = 0x77);
    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }

private:
    std::string directory_;
};

}  // namespace cw::test
