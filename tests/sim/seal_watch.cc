// Tells the oracle of every AES-GCM message that this program seals.
//
// The linker (--wrap, see CMakeLists.txt) puts this in the way of the one function of OpenSSL by
// which base/crypto gives a context its key, and each message its nonce. So no room can seal past
// it, and no shipped library knows of it. A context is told by its address: an address that is used
// again is given a key first. Thread-safety: none.
#include "base/crypto.h"
#include "tests/sim/oracles/seals.h"

#include <array>
#include <cstring>
#include <unordered_map>

#include <xxhash.h>

using cw::sim::SealOracle;

extern "C" {

// Names that the linker gives.
// NOLINTBEGIN(bugprone-reserved-identifier)
int __real_EVP_CipherInit_ex2(void* context, const void* method, const unsigned char* key,
                              const unsigned char* nonce, int encrypt, const void* parameters);

int __wrap_EVP_CipherInit_ex2(void* context, const void* method, const unsigned char* key,
                              const unsigned char* nonce, int encrypt, const void* parameters) {
    static std::unordered_map<const void*, cw::Key256> sealing;  // The contexts that seal.
    if (key != nullptr && encrypt == 0) {
        sealing.erase(context);
    } else if (key != nullptr) {
        std::memcpy(sealing[context].data(), key, sizeof(cw::Key256));
    }
    SealOracle* const oracle = SealOracle::current();
    const auto known = nonce == nullptr ? sealing.end() : sealing.find(context);
    if (oracle != nullptr && known != sealing.end()) {
        std::array<std::byte, sizeof(cw::Key256) + sizeof(cw::GcmNonce)> pair;
        std::memcpy(pair.data(), known->second.data(), sizeof(cw::Key256));
        std::memcpy(pair.data() + sizeof(cw::Key256), nonce, sizeof(cw::GcmNonce));
        oracle->on_seal(XXH3_64bits(pair.data(), pair.size()));
    }
    return __real_EVP_CipherInit_ex2(context, method, key, nonce, encrypt, parameters);
}
// NOLINTEND(bugprone-reserved-identifier)

}  // extern "C"
