// A self-signed certificate for loopback, so that tests speak real TLS.
#pragma once

#include <string>

namespace cw::fake_azure {

struct CertificateFiles {
    std::string certificate, key;  // PEM paths. The certificate is its own CA.
};
// Writes fake-azure.crt and fake-azure.key into `directory`, for 127.0.0.1, localhost and
// *.localhost. Aborts if it cannot: a test without it means nothing.
CertificateFiles make_certificate(const std::string& directory);

}  // namespace cw::fake_azure
