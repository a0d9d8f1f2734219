// The TLS refusal matrix against the replication port: every peer that is not an enrolled machine,
// and what it is told. A refusal is an alert in the handshake, or an HTTP status after it; never a
// byte of the protocol.
#include "tests/hostile/rig.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

namespace cw::hostile {
namespace {

using test::TestClient;

// What the client is told: the alert's name as OpenSSL gives it, an HTTP status, or "closed".
std::string told(SSL_CTX* context, std::uint16_t port) {
    auto client = TestClient::connect(port, context);
    if (!client) {
        return to_string(client.error());
    }
    if (const auto shaken = client->handshake(); !shaken) {
        return shaken.error().detail;
    }
    // A TLS 1.3 client learns of its refusal only with its first read.
    const auto response = client->request(wire::build_upgrade_request("h"));
    return response ? std::to_string(response->status) : response.error().detail;
}

void expect(const Target& target, const std::string& name, const Context& context,
            const std::string& wanted) {
    const std::string answer = told(context.get(), target.port);
    report("tls: " + name,
           answer.find(wanted) == std::string::npos ? "not " + wanted + " but " + answer : "");
}

Context with_protocol_max(const Target& target, int version) {
    Context context = forged_context(target, {.names = name_of_machine(90)});
    SSL_CTX_set_min_proto_version(context.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context.get(), version);
    return context;
}

void certificates(const Target& target) {
    using Issuer = Forgery::Issuer;
    const std::string good = name_of_machine(91);
    const struct {
        const char* name;
        Forgery forgery;
        const char* wanted;
    } cases[] = {
        {"a certificate of another CA of the same name",
         {.names = good, .issuer = Issuer::other_authority},
         "bad certificate|decrypt error|unknown ca"},
        {"a self-signed certificate", {.names = good, .issuer = Issuer::itself}, "unknown ca"},
        {"a certificate issued by a machine", {.names = good, .issuer = Issuer::leaf}, ""},
        {"an expired certificate", {.names = good, .until_s = -60}, "certificate expired"},
        {"expired by one second", {.names = good, .until_s = -1}, "certificate expired"},
        {"a certificate of tomorrow", {.names = good, .from_s = 86'400, .until_s = 2 * 86'400}, ""},
        {"for servers only", {.names = good, .usage = "serverAuth"}, "unsupported certificate"},
        {"for mail only", {.names = good, .usage = "emailProtection"}, "unsupported certificate"},
        {"for signing code only",
         {.names = good, .usage = "codeSigning"},
         "unsupported certificate"},
        {"an RSA key of 1024 bits", {.names = good, .weak_key = true}, ""},
        {"a SHA-1 signature", {.names = good, .weak_digest = true}, ""},
        {"no name at all", {.names = ""}, "401"},
        {"only a DNS name", {.names = "DNS:localhost"}, "401"},
        {"a web address as a name", {.names = "URI:https://example.invalid/machine"}, "401"},
        {"an identity that is no UUID", {.names = "URI:urn:causeway:machine:web1"}, "401"},
        {"an identity with a path in it",
         {.names = "URI:urn:causeway:machine:../../../etc/passwd"},
         "401"},
        {"an unknown role", {.names = name_of_role("root", 91)}, "401"},
        {"two identities", {.names = good + "," + name_of_machine(92)}, "401"},
        {"the same identity twice", {.names = good + "," + good}, "401"},
        {"two roles", {.names = good + "," + name_of_role("operator", 91)}, "401"},
        {"an identity as a DNS name", {.names = "DNS:urn.causeway.machine"}, "401"},
        {"an operator that replicates", {.names = name_of_role("operator", 1)}, "403"},
        {"a process server that replicates", {.names = name_of_role("ps", 1)}, "403"},
        {"a master target that replicates", {.names = name_of_role("mt", 1)}, "403"},
    };
    for (const auto& one : cases) {
        const std::string answer = told(forged_context(target, one.forgery).get(), target.port);
        bool right = answer != "101" && answer != "200";
        std::string_view wanted = one.wanted;
        bool matched = wanted.empty();
        while (!wanted.empty()) {
            const auto bar = wanted.find('|');
            matched = matched || answer.find(wanted.substr(0, bar)) != std::string::npos;
            wanted = bar == std::string_view::npos ? std::string_view{} : wanted.substr(bar + 1);
        }
        // Whatever the words: the handshake must have failed by an alert, where no status is due.
        right = right && matched;
        right = right && (std::string_view(one.wanted).starts_with("40") ||
                          answer.find("alert") != std::string::npos);
        report("tls: " + std::string(one.name),
               right ? "" : "not " + std::string(one.wanted) + " but " + answer);
    }
}

void revoked(const Target& target) {
    Context context = bare_context();
    CW_ASSERT(
        SSL_CTX_use_certificate_chain_file(context.get(), (target.revoked + ".crt").c_str()) == 1);
    CW_ASSERT(SSL_CTX_use_PrivateKey_file(context.get(), (target.revoked + ".key").c_str(),
                                          SSL_FILETYPE_PEM) == 1);
    expect(target, "a revoked certificate", context, "certificate revoked");
}

void versions(const Target& target) {
    expect(target, "no certificate", bare_context(), "certificate required");
    expect(target, "TLS 1.2", with_protocol_max(target, TLS1_2_VERSION), "protocol version");
    expect(target, "TLS 1.1", with_protocol_max(target, TLS1_1_VERSION), "protocol version");
    expect(target, "TLS 1.0", with_protocol_max(target, TLS1_VERSION), "protocol version");
    Context weak = forged_context(target, {.names = name_of_machine(90)});
    SSL_CTX_set_min_proto_version(weak.get(), TLS1_3_VERSION);
    CW_ASSERT(SSL_CTX_set_ciphersuites(weak.get(), "TLS_AES_128_CCM_8_SHA256") == 1);
    expect(target, "only a cipher suite with a short tag", weak, "handshake failure");
    const Forgery machine{.names = name_of_machine(90)};
    expect(target, "no protocol name", forged_context(target, machine, ""),
           "no application protocol");
    expect(target, "HTTP/2 as a protocol name", forged_context(target, machine, "h2"),
           "no application protocol");
    expect(target, "a connection for probes that replicates",
           forged_context(target, machine, "http/1.1"), "426");
    expect(target, "an enrolled machine is let in", forged_context(target, machine), "101");
}

// The server gives no ticket and takes no early data, so nothing can be sent twice.
void resumption(const Target& target) {
    const Context context = forged_context(target, {.names = name_of_machine(93)});
    int tickets = 0;
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_CLIENT);
    SSL_CTX_set_app_data(context.get(), &tickets);
    SSL_CTX_sess_set_new_cb(context.get(), [](SSL* ssl, SSL_SESSION*) {
        ++*static_cast<int*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
        return 0;
    });
    const std::string first = told(context.get(), target.port);
    report("tls: a session ticket is never given",
           first == "101" && tickets == 0 ? "" : first + ", tickets " + std::to_string(tickets));
}

// A session that the client made up, so that it may send data before the handshake is done.
int offer_early_data(SSL*, const EVP_MD*, const unsigned char** id, std::size_t* size,
                     SSL_SESSION** session) {
    static const unsigned char name[] = "stolen", key[48] = {1}, suite[] = {0x13, 0x02};
    static const Context any = bare_context();
    const std::unique_ptr<SSL, decltype(&SSL_free)> table(SSL_new(any.get()), &SSL_free);
    SSL_SESSION* const made = SSL_SESSION_new();
    SSL_SESSION_set1_master_key(made, key, sizeof key);
    SSL_SESSION_set_cipher(made, SSL_CIPHER_find(table.get(), suite));
    SSL_SESSION_set_protocol_version(made, TLS1_3_VERSION);
    SSL_SESSION_set_max_early_data(made, 16'384);
    SSL_SESSION_set1_alpn_selected(made,
                                   reinterpret_cast<const unsigned char*>(replication_alpn.data()),
                                   replication_alpn.size());
    *id = name;
    *size = sizeof name - 1;
    *session = made;
    return 1;
}

void early_data(const Target& target) {
    const Context context = forged_context(target, {.names = name_of_machine(94)});
    SSL_CTX_set_psk_use_session_callback(context.get(), offer_early_data);
    auto client = TestClient::connect(target.port, context.get());
    if (!client) {
        report("tls: early data is refused, and what it says is not read",
               to_string(client.error()));
        return;
    }
    const std::string head = wire::build_upgrade_request("h");
    std::size_t sent = 0;
    for (int i = 0; i < 100 && sent == 0; ++i) {
        if (SSL_write_early_data(client->ssl(), head.data(), head.size(), &sent) != 1) {
            (void)wait_fd(client->fd(), false, 100);
        }
    }
    const auto shaken = client->handshake();
    const int status = SSL_get_early_data_status(client->ssl());
    // Another request follows: had the early one been read, its answer would come first.
    const auto response = client->request("GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n");
    std::string failure;
    if (sent != head.size()) {
        failure = "none could be sent";
    } else if (!shaken) {
        failure = "the handshake does not go on: " + to_string(shaken.error());
    } else if (status != SSL_EARLY_DATA_REJECTED) {
        failure = "it is not refused: " + std::to_string(status);
    } else if (!response || response->status == 101) {
        failure = response ? "what came early is answered" : to_string(response.error());
    }
    report("tls: early data is refused, and what it says is not read", failure);
}

void not_tls(const Target& target) {
    const std::pair<const char*, std::string> cases[] = {
        {"plain HTTP", "GET /v1/replication HTTP/1.1\r\nHost: h\r\n\r\n"},
        {"another protocol's greeting", "SSH-2.0-OpenSSH_9.2\r\n"},
        {"a record of 64 KiB", std::string("\x16\x03\x01\xff\xff", 5) + std::string(65'535, 'A')},
        {"a record of no bytes", std::string("\x16\x03\x01\x00\x00", 5) + std::string(64, '\0')},
        {"a hello that claims 16 MiB",
         std::string("\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03", 11) +
             std::string(16'378, '\0')},
        {"application data first", std::string("\x17\x03\x03\x00\x10", 5) + std::string(16, 'x')},
        {"four zero bytes and silence", std::string(4, '\0') + std::string(60, '\0')},
    };
    for (const auto& [name, text] : cases) {
        auto client = TestClient::connect(target.port, nullptr);
        std::string failure;
        if (!client) {
            failure = to_string(client.error());
        } else {
            (void)client->send_plain(as_bytes(text));  // It may be closed before all is sent.
            failure = client->wait_closed() ? "" : "still open";
        }
        report("tls: " + std::string(name), failure);
    }
}

}  // namespace

void run_tls_cases(const Target& target) {
    versions(target);
    certificates(target);
    revoked(target);
    resumption(target);
    early_data(target);
    not_tls(target);
}

}  // namespace cw::hostile
