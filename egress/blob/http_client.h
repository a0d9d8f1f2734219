// One HTTP request and its reply, and the libcurl multi engine that carries many at once.
//
// HTTP/1.1 only, TLS 1.2 or newer with verification, no redirects, no Expect: 100-continue, proxies
// only as configured. Deadlines go by progress, not by total time: a slow link is not an error, a
// silent one is.
//
// Thread-safety: none; one client belongs to one thread. Callbacks run inside poll().
#pragma once

#include "base/secret.h"
#include "egress/blob/http_parse.h"
#include "egress/blob/send_pace.h"
#include "egress/blob/store.h"

namespace cw::blob {

using HttpQuery = std::vector<std::pair<std::string, std::string>>;  // Decoded.

struct HttpRequest {
    std::string method = "GET";
    std::string origin = {};  // "https://host[:port]"
    std::string path = "/";   // Percent-encoded.
    HttpQuery query = {};
    HttpHeaders headers = {};
    std::vector<Bytes> body = {};   // Borrowed until the reply.
    Secret<std::string> form = {};  // The body of a POST.
    bool use_proxy = true;
    std::uint64_t reply_bytes_max = 1 << 20;
    // Credentials: appended to the URL and sent as Authorization; never shown.
    Secret<std::string> sas = {};
    Secret<std::string> authorization = {};
};

enum class Transport : std::uint8_t {
    answered,  // A complete reply: status, headers, body.
    not_sent,  // The request certainly did not reach the server.
    in_doubt,  // It may have; the reply is missing or broken.
};

struct HttpReply {
    Transport transport = Transport::in_doubt;
    Errc failure = Errc::blob_unavailable;  // When not answered: that, or tls_failed.
    std::string detail = {};                // When not answered: the cause, without any secret.
    int status = 0;
    HttpHeaders headers = {};
    ByteVector body = {};
};

// Percent-encodes everything but unreserved characters and '/' when `keep_slash`.
std::string percent_encode(std::string_view text, bool keep_slash = false);

struct HttpClientOptions {
    std::string ca_file = {};  // PEM; empty: the system's.
    std::string proxy = {};    // "http://host:port"; empty: none (the environment is ignored).
    std::shared_ptr<const SendPace> pace;  // Of request bodies, live; null: none.
    std::size_t connections_max = 64;      // Kept for reuse.
    std::int64_t connect_timeout_ns = 15 * ns_per_s;
    std::int64_t progress_timeout_ns = 20 * ns_per_s;  // Without a byte moved.
    std::int64_t reply_timeout_ns = 60 * ns_per_s;     // From the last body byte to the reply.
    std::int64_t idle_timeout_ns = 60 * ns_per_s;      // Of a kept connection.
};

class HttpClient {
public:
    HttpClient(HttpClientOptions options, Clock& clock);
    ~HttpClient();
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    void start(HttpRequest request, std::function<void(HttpReply&)> done);
    std::size_t poll();
    void wait(std::int64_t timeout_ns, int wake_fd);
    [[nodiscard]] std::size_t in_flight() const noexcept;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace cw::blob
