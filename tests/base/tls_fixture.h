// Certificates in a scratch directory, and handshakes between two contexts over a socket pair.
#pragma once

#include "base/assert.h"
#include "base/net.h"
#include "base/openssl_handles.h"
#include "base/tls.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

namespace cw {

inline constexpr std::int64_t one_day_s = 86'400;
using Ssl = std::unique_ptr<SSL, decltype(&SSL_free)>;
using SslContext = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

struct Outcome {
    Result<void> client;
    Result<void> server;
};

class TlsTest : public testing::Test {
protected:
    static void SetUpTestSuite() {
        std::string pattern = testing::TempDir() + "cw_tls_XXXXXX";
        CW_ASSERT(mkdtemp(pattern.data()) != nullptr);
        directory_ = pattern;
        CW_ASSERT(create_ca(directory_ + "/ca", "Test CA", one_day_s));
        CW_ASSERT(create_ca(directory_ + "/other", "Other CA", one_day_s));
        issue("ca", Role::process_server, "server");
        issue("ca", Role::machine, "client");
        issue("other", Role::machine, "stranger");
    }
    static void TearDownTestSuite() { std::filesystem::remove_all(directory_); }

    static void issue(const std::string& ca, Role role, const std::string& name) {
        CW_ASSERT(
            issue_certificate(directory_ + "/" + ca, request_for(role), directory_ + "/" + name));
    }
    static Identity identity_of(Role role) { return {role, {std::byte{7}}}; }
    static CertificateRequest request_for(Role role) {
        return {identity_of(role), "test", "localhost,127.0.0.1,::1", one_day_s};
    }
    // A client that names the protocol and nothing else.
    static SslContext bare_client() {
        SslContext context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
        const std::string list = "\x16" + std::string(replication_alpn);
        CW_ASSERT(list[0] == static_cast<char>(replication_alpn.size()));
        CW_ASSERT(SSL_CTX_set_alpn_protos(context.get(),
                                          reinterpret_cast<const unsigned char*>(list.data()),
                                          static_cast<unsigned>(list.size())) == 0);
        return context;
    }
    // A client with a certificate that our own functions would not issue: any alternative names
    // ("" for none), valid from yesterday until `valid_s` from now.
    static SslContext client_with(const std::string& names, std::int64_t valid_s) {
        const openssl::Pkey key(EVP_EC_gen("P-256"));
        const openssl::Certificate ca(
            PEM_read_bio_X509(open_pem("/ca/ca.crt").get(), nullptr, nullptr, nullptr));
        const openssl::Pkey ca_key(
            PEM_read_bio_PrivateKey(open_pem("/ca/ca.key").get(), nullptr, nullptr, nullptr));
        const openssl::Certificate leaf(X509_new());
        CW_ASSERT(key && ca && ca_key && leaf && X509_set_version(leaf.get(), X509_VERSION_3) == 1);
        CW_ASSERT(X509_gmtime_adj(X509_getm_notBefore(leaf.get()), -one_day_s) != nullptr);
        CW_ASSERT(X509_gmtime_adj(X509_getm_notAfter(leaf.get()), valid_s) != nullptr);
        CW_ASSERT(X509_set_pubkey(leaf.get(), key.get()) == 1);
        CW_ASSERT(X509_set_issuer_name(leaf.get(), X509_get_subject_name(ca.get())) == 1);
        if (!names.empty()) {
            const openssl::Extension extension(
                X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str()));
            CW_ASSERT(extension && X509_add_ext(leaf.get(), extension.get(), -1) == 1);
        }
        CW_ASSERT(X509_sign(leaf.get(), ca_key.get(), EVP_sha256()) > 0);
        SslContext context = bare_client();
        CW_ASSERT(SSL_CTX_use_certificate(context.get(), leaf.get()) == 1);
        CW_ASSERT(SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1);
        return context;
    }
    static openssl::Bio open_pem(const std::string& file) {
        return openssl::Bio(BIO_new_file((directory_ + file).c_str(), "r"));
    }
    static TlsFiles files(const std::string& name, const std::string& ca = "ca") {
        return {directory_ + "/" + ca + "/ca.crt", directory_ + "/" + name + ".crt",
                directory_ + "/" + name + ".key"};
    }

    // Runs a handshake over a socket pair. What a server says after its own part is done reaches a
    // TLS 1.3 client only with its first read, so each side reads one byte of the other's, too.
    Outcome handshake(SSL_CTX* client_context, SSL_CTX* server_context) {
        int ends[2];
        CW_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
        client_end_ = Fd(ends[0]);
        server_end_ = Fd(ends[1]);
        client_ = Ssl(SSL_new(client_context), SSL_free);
        server_ = Ssl(SSL_new(server_context), SSL_free);
        SSL_set_fd(client_.get(), ends[0]);
        SSL_set_fd(server_.get(), ends[1]);
        SSL_set_connect_state(client_.get());
        SSL_set_accept_state(server_.get());
        Outcome outcome;
        bool client_done = false, server_done = false;
        for (int round = 0; round < 20 && !(client_done && server_done); ++round) {
            client_done = client_done || advance(client_.get(), outcome.client);
            server_done = server_done || advance(server_.get(), outcome.server);
        }
        return outcome;
    }
    // True when this side has ended, well or badly.
    static bool advance(SSL* ssl, Result<void>& result) {
        char byte = 'x';
        int answer = SSL_do_handshake(ssl);
        if (answer == 1) {
            answer = SSL_write(ssl, &byte, 1) == 1 ? SSL_read(ssl, &byte, 1) : -1;
        }
        if (answer == 1) {
            return true;
        }
        const int why = SSL_get_error(ssl, answer);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
            return false;
        }
        result = std::unexpected(tls_error("handshake"));
        return true;
    }
    Outcome handshake(const TlsFiles& client, const TlsFiles& server) {
        client_context_ = TlsContext::client(client).value();
        server_context_ = TlsContext::server(server).value();
        return handshake(client_context_->get(), server_context_->get());
    }

    static inline std::string directory_;
    std::optional<TlsContext> client_context_, server_context_;
    Fd client_end_, server_end_;
    Ssl client_{nullptr, SSL_free}, server_{nullptr, SSL_free};
};

}  // namespace cw
