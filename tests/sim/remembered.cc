#include "tests/sim/remembered.h"

#include "base/crypto.h"

#include <cstring>
#include <map>
#include <unordered_map>
#include <unordered_set>

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

// By secret key; as pure as the rest.
const PublicKey& open_key_of(const PrivateKey& key) {
    static std::map<PrivateKey, PublicKey> all;
    const auto [known, fresh] = all.try_emplace(key);
    if (fresh) {
        known->second = public_key_of(key);
    }
    return known->second;
}

}  // namespace

void forget_remembered() {
    verified().clear();
    derived().clear();
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
    const Signature signature = really_sign(key, message);
    verified().insert(hash_of({open_key_of(key), signature, message}));
    return signature;
}

Key256 derive_once(Bytes key, Bytes salt, Bytes info) {
    const auto [known, fresh] = derived().try_emplace(hash_of({key, salt, info}));
    if (fresh) {
        known->second = really_derive(key, salt, info);
    }
    return known->second;
}

}  // namespace cw::sim
