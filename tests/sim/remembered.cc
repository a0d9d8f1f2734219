#include "tests/sim/remembered.h"

#include "base/assert.h"
#include "base/crypto.h"
#include "base/random.h"

#include <cstring>
#include <map>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <openssl/evp.h>

namespace cw::sim {
namespace {

struct HashOfHash {
    std::size_t operator()(const Sha256& hash) const noexcept {
        std::size_t out;
        std::memcpy(&out, hash.data(), sizeof out);
        return out;
    }
};

// Each part with its length: two inputs never look alike.
Sha256 hash_of(std::initializer_list<Bytes> parts) {
    static ByteVector all;  // Reused: this is what costs least.
    all.clear();
    for (const Bytes part : parts) {
        const std::uint64_t size = part.size();
        const auto* const raw_size = reinterpret_cast<const std::byte*>(&size);
        all.insert(all.end(), raw_size, raw_size + sizeof size);
        all.insert(all.end(), part.begin(), part.end());
    }
    return sha256(all);
}

std::unordered_set<Sha256, HashOfHash>& verified() {
    static std::unordered_set<Sha256, HashOfHash> all;
    return all;
}

std::unordered_map<Sha256, Key256, HashOfHash>& derived() {
    static std::unordered_map<Sha256, Key256, HashOfHash> all;
    return all;
}

struct FreeKey {
    void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
};
struct FreeContext {
    void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
};

struct ReadyKey {
    std::unique_ptr<EVP_PKEY, FreeKey> key;
    PublicKey open{};
};

std::map<PrivateKey, ReadyKey>& keys() {
    static std::map<PrivateKey, ReadyKey> all;
    return all;
}

const ReadyKey& ready(const PrivateKey& secret) {
    const auto [known, fresh] = keys().try_emplace(secret);
    ReadyKey& made = known->second;
    if (fresh) {
        const auto* const from = reinterpret_cast<const unsigned char*>(secret.data());
        made.key.reset(
            EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, from, secret.size()));
        std::size_t size = made.open.size();
        CW_ASSERT(EVP_PKEY_get_raw_public_key(made.key.get(),
                                              reinterpret_cast<unsigned char*>(made.open.data()),
                                              &size) == 1 &&
                  size == made.open.size());
    }
    return made;
}

Signature sign(const ReadyKey& with, Bytes message) {
    static const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
    CW_ASSERT(EVP_MD_CTX_reset(context.get()) == 1);
    CW_ASSERT(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, with.key.get()) == 1);
    Signature signature;
    std::size_t size = signature.size();
    CW_ASSERT(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()),
                             &size, reinterpret_cast<const unsigned char*>(message.data()),
                             message.size()) == 1 &&
              size == signature.size());
    return signature;
}

}  // namespace

void forget_remembered() {
    verified().clear();
    derived().clear();
    keys().clear();
}

// The real functions and those in their place, by the names that the linker gives them.
bool really_verify(const PublicKey& key, Bytes message, const Signature& signature) asm(
    "__real__ZN2cw14verify_ed25519ERKSt5arrayISt4byteLm32EESt4spanIKS1_Lm18446744073709551615EERKS"
    "0_IS1_Lm64EE");
bool verify_once(const PublicKey& key, Bytes message, const Signature& signature) asm(
    "__wrap__ZN2cw14verify_ed25519ERKSt5arrayISt4byteLm32EESt4spanIKS1_Lm18446744073709551615EERKS"
    "0_IS1_Lm64EE");
Signature really_sign(const PrivateKey& key, Bytes message) asm(
    "__real__ZN2cw12sign_ed25519ERKSt5arrayISt4byteLm32EESt4spanIKS1_Lm18446744073709551615EE");
Signature sign_and_know(const PrivateKey& key, Bytes message) asm(
    "__wrap__ZN2cw12sign_ed25519ERKSt5arrayISt4byteLm32EESt4spanIKS1_Lm18446744073709551615EE");
PublicKey open_key_of(const PrivateKey& key) asm(
    "__wrap__ZN2cw13public_key_ofERKSt5arrayISt4byteLm32EE");
SigningKeyPair make_ready(Random& random) asm("__wrap__ZN2cw16make_signing_keyERNS_6RandomE");
Key256 really_derive(Bytes key, Bytes salt, Bytes info) asm(
    "__real__ZN2cw11hkdf_sha256ESt4spanIKSt4byteLm18446744073709551615EES3_S3_");
Key256 derive_once(Bytes key, Bytes salt, Bytes info) asm(
    "__wrap__ZN2cw11hkdf_sha256ESt4spanIKSt4byteLm18446744073709551615EES3_S3_");

bool verify_once(const PublicKey& key, Bytes message, const Signature& signature) {
    const Sha256 input = hash_of({key, signature, message});
    if (verified().contains(input)) {
        return true;
    }
    const bool good = really_verify(key, message, signature);
    if (good) {
        verified().insert(input);
    }
    return good;
}

Signature sign_and_know(const PrivateKey& key, Bytes message) {
    const ReadyKey& with = ready(key);
    const Signature signature = sign(with, message);
    // Ed25519 draws nothing: there is one signature of a message.
    static bool compared = false;
    CW_ASSERT(std::exchange(compared, true) || signature == really_sign(key, message));
    verified().insert(hash_of({with.open, signature, message}));
    return signature;
}

PublicKey open_key_of(const PrivateKey& key) {
    return ready(key).open;
}

SigningKeyPair make_ready(Random& random) {
    SigningKeyPair pair{};
    random.fill(pair.secret);
    pair.open = ready(pair.secret).open;
    return pair;
}

Key256 derive_once(Bytes key, Bytes salt, Bytes info) {
    const auto [known, fresh] = derived().try_emplace(hash_of({key, salt, info}));
    if (fresh) {
        known->second = really_derive(key, salt, info);
    }
    return known->second;
}

}  // namespace cw::sim
