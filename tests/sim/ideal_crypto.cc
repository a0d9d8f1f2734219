// Signatures and derived keys as theory has them, in place of the real ones.
//
// Every manifest, head and note is signed and every reader verifies all of them: a schedule spent
// much of its time on curves. Nobody in the simulator forges: its adversary damages, moves, drops
// and rolls back what others made, and computes nothing with a key. So a signature may be anything
// that fits one key and one message only. The linker (--wrap, see CMakeLists.txt) puts keyed hashes
// (XXH3) in place of Ed25519 and of HKDF; what the rooms do with them is what they do everywhere:
// under another key, over another message or with a bit flipped a signature does not verify, and
// other inputs derive other keys. That the real functions are right is for
// tests/base/crypto_test.cc and for whatever else is tested without this. Thread-safety: none.
#include "base/crypto.h"
#include "base/random.h"

#include <array>
#include <cstring>
#include <initializer_list>

#include <xxhash.h>

namespace cw::sim {
namespace {

enum class Use : std::uint64_t { open_key = 1, signature = 3, derived_key = 5 };

// Each part with its length: two inputs never look alike.
XXH128_hash_t hash_of(std::initializer_list<Bytes> parts, std::uint64_t seed) {
    static XXH3_state_t* const state = XXH3_createState();
    XXH3_128bits_reset_withSeed(state, seed);
    for (const Bytes part : parts) {
        const std::uint64_t size = part.size();
        XXH3_128bits_update(state, &size, sizeof size);
        XXH3_128bits_update(state, part.data(), part.size());
    }
    return XXH3_128bits_digest(state);
}

// As many bytes as wanted, all of them from all of the input.
template <std::size_t size>
std::array<std::byte, size> expand(Use use, std::initializer_list<Bytes> parts) {
    const XXH128_hash_t all = hash_of(parts, static_cast<std::uint64_t>(use));
    std::array<std::byte, size> out;
    for (std::uint64_t at = 0; at < size; at += sizeof all) {
        const XXH128_hash_t piece = XXH3_128bits_withSeed(&all, sizeof all, at);
        std::memcpy(out.data() + at, &piece, sizeof piece);
    }
    return out;
}

}  // namespace

// By the names that the linker gives them.
PublicKey open_key_of(const PrivateKey& key) asm(
    "__wrap__ZN2cw13public_key_ofERKSt5arrayISt4byteLm32EE");
SigningKeyPair make_key(Random& random) asm("__wrap__ZN2cw16make_signing_keyERNS_6RandomE");
Signature sign(const PrivateKey& key, Bytes message) asm(
    "__wrap__ZN2cw12sign_ed25519ERKSt5arrayISt4byteLm32EESt4spanIKS1_Lm18446744073709551615EE");
bool verify(const PublicKey& key, Bytes message, const Signature& signature) asm(
    "__wrap__ZN2cw14verify_ed25519ERKSt5arrayISt4byteLm32EESt4spanIKS1_Lm18446744073709551615EERKS"
    "0_IS1_Lm64EE");
Key256 derive(Bytes key, Bytes salt, Bytes info) asm(
    "__wrap__ZN2cw11hkdf_sha256ESt4spanIKSt4byteLm18446744073709551615EES3_S3_");

PublicKey open_key_of(const PrivateKey& key) {
    return expand<sizeof(PublicKey)>(Use::open_key, {key});
}

SigningKeyPair make_key(Random& random) {
    SigningKeyPair pair{};
    random.fill(pair.secret);
    pair.open = open_key_of(pair.secret);
    return pair;
}

Signature sign(const PrivateKey& key, Bytes message) {
    return expand<sizeof(Signature)>(Use::signature, {open_key_of(key), message});
}

bool verify(const PublicKey& key, Bytes message, const Signature& signature) {
    return signature == expand<sizeof(Signature)>(Use::signature, {key, message});
}

Key256 derive(Bytes key, Bytes salt, Bytes info) {
    return expand<sizeof(Key256)>(Use::derived_key, {key, salt, info});
}

}  // namespace cw::sim
