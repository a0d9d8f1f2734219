// Thin, checked wrappers over OpenSSL's primitives. Stateless functions are thread-safe; objects
// are used by one thread at a time.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <array>
#include <memory>
#include <string_view>

namespace cw {

class Random;

using Sha256 = std::array<std::byte, 32>;
using Key256 = std::array<std::byte, 32>;  // Wipe with wipe() when done.
using GcmNonce = std::array<std::byte, 12>;
using GcmTag = std::array<std::byte, 16>;
using Signature = std::array<std::byte, 64>;  // Ed25519, RFC 8032.
using PublicKey = std::array<std::byte, 32>;
using PrivateKey = std::array<std::byte, 32>;  // The Ed25519 seed.

// Overwrites memory that held a secret; never optimised away.
void wipe(MutableBytes bytes) noexcept;

Sha256 sha256(Bytes bytes);
Sha256 hmac_sha256(Bytes key, Bytes message);
// HKDF-SHA256 (RFC 5869), one output of 32 bytes.
Key256 hkdf_sha256(Bytes key, Bytes salt, Bytes info);
// Comparison in time that depends only on the length.
bool equal_constant_time(Bytes a, Bytes b) noexcept;

class Sha256Stream {
public:
    Sha256Stream();
    ~Sha256Stream();
    Sha256Stream(Sha256Stream&&) noexcept;
    Sha256Stream& operator=(Sha256Stream&&) noexcept;
    void update(Bytes bytes);
    Sha256 finish();  // Once.

private:
    struct State;
    std::unique_ptr<State> state_;
};

// AES-256-GCM with a context that is set up once per key and reused per message.
class AesGcm {
public:
    explicit AesGcm(const Key256& key);
    ~AesGcm();
    AesGcm(AesGcm&&) noexcept;
    AesGcm& operator=(AesGcm&&) noexcept;

    // Encrypts `plain` into `cipher` (same length; may be the same memory, else disjoint).
    GcmTag seal(const GcmNonce& nonce, Bytes aad, Bytes plain, MutableBytes cipher);
    // As seal(), but the output is scattered: the pieces' lengths sum to plain.size().
    GcmTag seal(const GcmNonce& nonce, Bytes aad, Bytes plain,
                std::span<const MutableBytes> cipher);
    // Errors: object_corrupt. On failure the content of `plain` is wiped.
    Result<void> open(const GcmNonce& nonce, Bytes aad, Bytes cipher, const GcmTag& tag,
                      MutableBytes plain);
    Result<void> open(const GcmNonce& nonce, Bytes aad, std::span<const Bytes> cipher,
                      const GcmTag& tag, MutableBytes plain);

private:
    struct State;
    std::unique_ptr<State> state_;
};

struct SigningKeyPair {
    PrivateKey secret;
    PublicKey open;
};

SigningKeyPair make_signing_key(Random& random);
PublicKey public_key_of(const PrivateKey& key);
Signature sign_ed25519(const PrivateKey& key, Bytes message);
bool verify_ed25519(const PublicKey& key, Bytes message, const Signature& signature);

}  // namespace cw
