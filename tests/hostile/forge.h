// Certificates that no honest authority would issue, made in memory with a site's real CA key.
#pragma once

#include "base/tls.h"

#include <cstdint>
#include <memory>
#include <string>

#include <openssl/types.h>

namespace cw::hostile {

struct Forgery {
    std::string names;  // SAN as OpenSSL's configuration writes it: "URI:…,DNS:…"; empty: none.
    std::string usage = "clientAuth";
    std::string common_name = "forged";          // As it stands: whatever the bytes, however many.
    std::int64_t from_s = -600, until_s = 3600;  // From now.
    enum class Issuer : std::uint8_t { site, itself, other_authority, leaf } issuer = Issuer::site;
    bool authority = false;  // Says that it is a CA.
    bool weak_key = false;   // RSA with 1024 bits.
    bool weak_digest = false;
};

// A certificate with its key, and whoever must be shown with it.
class Forged {
public:
    // `pki` holds ca.crt and ca.key.
    static Forged make(const std::string& pki, const Forgery& forgery);
    // Makes `context` show it.
    void use(SSL_CTX* context) const;

private:
    std::shared_ptr<X509> certificate_, intermediate_;
    std::shared_ptr<EVP_PKEY> key_;
};

// "URI:urn:causeway:machine:<seed as a UUID>"
std::string name_of_machine(std::uint64_t seed);
std::string name_of_role(std::string_view role, std::uint64_t seed);

}  // namespace cw::hostile
