// Owning pointers for OpenSSL's objects. Private to base/.
#pragma once

#include "base/assert.h"
#include "base/bytes.h"

#include <memory>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace cw::openssl {

template <auto free_it>
struct Freer {
    template <typename T>
    void operator()(T* object) const noexcept {
        free_it(object);
    }
};

using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, Freer<EVP_CIPHER_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freer<EVP_MD_CTX_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;
using GeneralNames = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;
using Integer = std::unique_ptr<ASN1_INTEGER, Freer<ASN1_INTEGER_free>>;
using KdfContext = std::unique_ptr<EVP_KDF_CTX, Freer<EVP_KDF_CTX_free>>;
using Number = std::unique_ptr<BIGNUM, Freer<BN_free>>;
using Pkey = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using PkeyContext = std::unique_ptr<EVP_PKEY_CTX, Freer<EVP_PKEY_CTX_free>>;
using Request = std::unique_ptr<X509_REQ, Freer<X509_REQ_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;

// Reads from `bytes`, which must outlive it; also if there are none, where OpenSSL makes a
// difference between an empty file and no file.
inline Bio bio_over(Bytes bytes) {
    const void* const data = bytes.empty() ? static_cast<const void*>("") : bytes.data();
    Bio bio(BIO_new_mem_buf(data, static_cast<int>(bytes.size())));
    CW_ASSERT(bio != nullptr);
    return bio;
}

}  // namespace cw::openssl
