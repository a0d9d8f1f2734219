#include "base/crypto.h"

#include "base/assert.h"
#include "base/openssl_handles.h"
#include "base/random.h"
#include "base/secret.h"

#include <algorithm>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/params.h>

// OpenSSL's primitives fail only without memory or when misused: both stop the process, because a
// key or a tag that was not computed must never be used.
namespace cw {
namespace {

using openssl::CipherContext;
using openssl::DigestContext;
using openssl::KdfContext;
using openssl::Pkey;

const unsigned char* in(Bytes bytes) noexcept {
    // OpenSSL takes a null pointer for "nothing given" in places where an empty span means empty.
    static constexpr unsigned char nothing = 0;
    return bytes.empty() ? &nothing : reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* out(MutableBytes bytes) noexcept {
    return reinterpret_cast<unsigned char*>(bytes.data());
}

// Fetched once: a fetch per call costs more than hashing a small message.
const EVP_MD* sha256_method() {
    static EVP_MD* const method = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    CW_ASSERT(method != nullptr);
    return method;
}
const EVP_CIPHER* gcm_method() {
    static EVP_CIPHER* const method = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
    CW_ASSERT(method != nullptr);
    return method;
}
EVP_KDF* hkdf_method() {
    static EVP_KDF* const method = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
    CW_ASSERT(method != nullptr);
    return method;
}

CipherContext make_gcm(const Key256& key, bool encrypt) {
    CipherContext context(EVP_CIPHER_CTX_new());
    CW_ASSERT(context != nullptr);
    CW_ASSERT(EVP_CipherInit_ex2(context.get(), gcm_method(), in(key), nullptr, encrypt ? 1 : 0,
                                 nullptr) == 1);
    return context;
}

constexpr std::size_t update_max = 1U << 30;  // OpenSSL takes lengths as int.

void begin_message(EVP_CIPHER_CTX* context, const GcmNonce& nonce, Bytes aad) {
    CW_ASSERT(EVP_CipherInit_ex2(context, nullptr, nullptr, in(nonce), -1, nullptr) == 1);
    while (!aad.empty()) {
        const std::size_t n = std::min(aad.size(), update_max);
        int written = 0;
        CW_ASSERT(EVP_CipherUpdate(context, nullptr, &written, in(aad), static_cast<int>(n)) == 1);
        aad = aad.subspan(n);
    }
}

void transform(EVP_CIPHER_CTX* context, Bytes from, MutableBytes to) {
    CW_ASSERT(from.size() == to.size());
    while (!from.empty()) {
        const std::size_t n = std::min(from.size(), update_max);
        int written = 0;
        CW_ASSERT(EVP_CipherUpdate(context, out(to), &written, in(from), static_cast<int>(n)) == 1);
        CW_ASSERT(static_cast<std::size_t>(written) == n);
        from = from.subspan(n);
        to = to.subspan(n);
    }
}

GcmTag finish_seal(EVP_CIPHER_CTX* context) {
    std::array<unsigned char, 16> nothing;  // GCM has no final block.
    int written = 0;
    CW_ASSERT(EVP_CipherFinal_ex(context, nothing.data(), &written) == 1 && written == 0);
    GcmTag tag;
    CW_ASSERT(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()),
                                  tag.data()) == 1);
    return tag;
}

bool finish_open(EVP_CIPHER_CTX* context, const GcmTag& tag) {
    GcmTag copy = tag;
    CW_ASSERT(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(copy.size()),
                                  copy.data()) == 1);
    std::array<unsigned char, 16> nothing;
    int written = 0;
    return EVP_CipherFinal_ex(context, nothing.data(), &written) == 1;
}

Pkey load_private(const PrivateKey& key) {
    Pkey pkey(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, in(key), key.size()));
    CW_ASSERT(pkey != nullptr);
    return pkey;
}

}  // namespace

void wipe(MutableBytes bytes) noexcept {
    OPENSSL_cleanse(bytes.data(), bytes.size());
}

Sha256 sha256(Bytes bytes) {
    Sha256 digest;
    unsigned size = 0;
    CW_ASSERT(EVP_Digest(in(bytes), bytes.size(), out(digest), &size, sha256_method(), nullptr) ==
              1);
    CW_ASSERT(size == digest.size());
    return digest;
}

Sha256 hmac_sha256(Bytes key, Bytes message) {
    CW_ASSERT(key.size() < update_max);
    Sha256 digest;
    unsigned size = 0;
    CW_ASSERT(HMAC(sha256_method(), in(key), static_cast<int>(key.size()), in(message),
                   message.size(), out(digest), &size) != nullptr);
    CW_ASSERT(size == digest.size());
    return digest;
}

Key256 hkdf_sha256(Bytes key, Bytes salt, Bytes info) {
    const KdfContext context(EVP_KDF_CTX_new(hkdf_method()));
    CW_ASSERT(context != nullptr);
    const auto octets = [](const char* name, Bytes value) {
        return OSSL_PARAM_construct_octet_string(name, const_cast<unsigned char*>(in(value)),
                                                 value.size());
    };
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        octets(OSSL_KDF_PARAM_KEY, key),
        octets(OSSL_KDF_PARAM_SALT, salt),
        octets(OSSL_KDF_PARAM_INFO, info),
        OSSL_PARAM_construct_end(),
    };
    Key256 derived;
    CW_ASSERT(EVP_KDF_derive(context.get(), out(derived), derived.size(), parameters) == 1);
    return derived;
}

bool equal_constant_time(Bytes a, Bytes b) noexcept {
    return a.size() == b.size() && CRYPTO_memcmp(in(a), in(b), a.size()) == 0;
}

struct Sha256Stream::State {
    DigestContext context{EVP_MD_CTX_new()};
};

Sha256Stream::Sha256Stream() : state_(std::make_unique<State>()) {
    CW_ASSERT(state_->context != nullptr);
    CW_ASSERT(EVP_DigestInit_ex2(state_->context.get(), sha256_method(), nullptr) == 1);
}
Sha256Stream::~Sha256Stream() = default;
Sha256Stream::Sha256Stream(Sha256Stream&&) noexcept = default;
Sha256Stream& Sha256Stream::operator=(Sha256Stream&&) noexcept = default;

void Sha256Stream::update(Bytes bytes) {
    CW_ASSERT(EVP_DigestUpdate(state_->context.get(), in(bytes), bytes.size()) == 1);
}

Sha256 Sha256Stream::finish() {
    Sha256 digest;
    CW_ASSERT(EVP_DigestFinal_ex(state_->context.get(), out(digest), nullptr) == 1);
    return digest;
}

// Most keys only seal or only open: a direction is made ready when it is first asked for.
struct AesGcm::State {
    Secret<Key256> key;
    CipherContext sealing{}, opening{};

    EVP_CIPHER_CTX* ready(CipherContext& context, bool encrypt) const {
        if (context == nullptr) {
            context = make_gcm(key.reveal(), encrypt);
        }
        return context.get();
    }
};

AesGcm::AesGcm(const Key256& key) : state_(std::make_unique<State>(Secret<Key256>(key))) {}
AesGcm::~AesGcm() = default;
AesGcm::AesGcm(AesGcm&&) noexcept = default;
AesGcm& AesGcm::operator=(AesGcm&&) noexcept = default;

GcmTag AesGcm::seal(const GcmNonce& nonce, Bytes aad, Bytes plain, MutableBytes cipher) {
    return seal(nonce, aad, plain, std::span<const MutableBytes>(&cipher, 1));
}

GcmTag AesGcm::seal(const GcmNonce& nonce, Bytes aad, Bytes plain,
                    std::span<const MutableBytes> cipher) {
    EVP_CIPHER_CTX* const context = state_->ready(state_->sealing, true);
    begin_message(context, nonce, aad);
    for (const MutableBytes piece : cipher) {
        CW_ASSERT(piece.size() <= plain.size());
        transform(context, plain.first(piece.size()), piece);
        plain = plain.subspan(piece.size());
    }
    CW_ASSERT(plain.empty());
    return finish_seal(context);
}

Result<void> AesGcm::open(const GcmNonce& nonce, Bytes aad, Bytes cipher, const GcmTag& tag,
                          MutableBytes plain) {
    return open(nonce, aad, std::span<const Bytes>(&cipher, 1), tag, plain);
}

Result<void> AesGcm::open(const GcmNonce& nonce, Bytes aad, std::span<const Bytes> cipher,
                          const GcmTag& tag, MutableBytes plain) {
    EVP_CIPHER_CTX* const context = state_->ready(state_->opening, false);
    begin_message(context, nonce, aad);
    MutableBytes rest = plain;
    for (const Bytes piece : cipher) {
        CW_ASSERT(piece.size() <= rest.size());
        transform(context, piece, rest.first(piece.size()));
        rest = rest.subspan(piece.size());
    }
    CW_ASSERT(rest.empty());
    if (!finish_open(context, tag)) {
        wipe(plain);
        return fail(Errc::object_corrupt, "authentication tag does not match");
    }
    return {};
}

SigningKeyPair make_signing_key(Random& random) {
    SigningKeyPair pair{};
    random.fill(pair.secret);
    pair.open = public_key_of(pair.secret);
    return pair;
}

PublicKey public_key_of(const PrivateKey& key) {
    const Pkey pkey = load_private(key);
    PublicKey open{};
    std::size_t size = open.size();
    CW_ASSERT(EVP_PKEY_get_raw_public_key(pkey.get(), out(open), &size) == 1);
    CW_ASSERT(size == open.size());
    return open;
}

Signature sign_ed25519(const PrivateKey& key, Bytes message) {
    const Pkey pkey = load_private(key);
    const DigestContext context(EVP_MD_CTX_new());
    CW_ASSERT(context != nullptr);
    CW_ASSERT(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, pkey.get()) == 1);
    Signature signature;
    std::size_t size = signature.size();
    CW_ASSERT(EVP_DigestSign(context.get(), out(signature), &size, in(message), message.size()) ==
              1);
    CW_ASSERT(size == signature.size());
    return signature;
}

bool verify_ed25519(const PublicKey& key, Bytes message, const Signature& signature) {
    const Pkey pkey(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, in(key), key.size()));
    const DigestContext context(EVP_MD_CTX_new());
    CW_ASSERT(context != nullptr);
    return pkey != nullptr &&  // The key may be the peer's: a bad one verifies nothing.
           EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, pkey.get()) == 1 &&
           EVP_DigestVerify(context.get(), in(signature), signature.size(), in(message),
                            message.size()) == 1;
}

}  // namespace cw
