// How the fake's replies look on the wire, and what is counted.
#include "egress/blob/http_parse.h"
#include "tests/fake_azure/server.h"

#include <fstream>

namespace cw::fake_azure {
namespace {

std::string reason(int status) {
    return status < 300 ? "OK" : status < 500 ? "Refused" : "Error";
}

bool has_body(const Request& request) {
    return request.method != "HEAD";
}

}  // namespace

bool FakeAzure::Server::send(Session& session, const Request& request, const Reply& reply,
                             bool truncate) {
    std::string text = reply.text;
    if (text.empty() && !reply.code.empty() && has_body(request)) {
        text = "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>" + reply.code +
               "</Code><Message>" + reply.message + "</Message></Error>";
    }
    const std::uint64_t length = reply.content || reply.length > 0 ? reply.length : text.size();
    std::string head = "HTTP/1.1 " + std::to_string(reply.status) + " " + reason(reply.status) +
                       "\r\nContent-Length: " + std::to_string(length) +
                       "\r\nDate: " + blob::format_http_date(time.wall_s()) + "\r\n";
    if (reply.from_service) {
        head += "Server: Fake-Azure-Blob/1.0\r\nx-ms-request-id: fake-" +
                std::to_string(next_id_++) +
                "\r\nx-ms-version: " + std::string(request.header("x-ms-version")) + "\r\n";
        if (request.has("x-ms-client-request-id")) {
            head +=
                "x-ms-client-request-id: " + std::string(request.header("x-ms-client-request-id")) +
                "\r\n";
        }
        if (!reply.code.empty()) {
            head += "x-ms-error-code: " + reply.code + "\r\n";
        }
    }
    for (const auto& [name, value] : reply.headers) {
        head += name + ": " + value + "\r\n";
    }
    head += reply.close ? "Connection: close\r\n\r\n" : "\r\n";
    Bytes body;
    if (has_body(request)) {
        body = reply.content ? reply.content->view().subspan(reply.offset, reply.length)
                             : as_bytes(text);
    }
    body = truncate ? body.first(body.size() / 2) : body;
    bytes_out_ += head.size() + body.size();
    if (body.size() <= 4096) {  // One segment for small replies.
        head += as_text(body);
        body = {};
    }
    return session.connection.write(as_bytes(head)) && session.connection.write(body);
}

// The signature of a SAS, the header with a key's or a token, and the form with an app's secret are
// what a request proves itself with: they belong here and are left out. All else does not.
void FakeAzure::Server::note_received(const Request& request) {
    std::string text = request.method + " " + request.raw_path;
    for (const auto& [name, value] : request.query) {
        text += name == "sig" ? "" : " " + name + "=" + value;
    }
    text += '\n';
    for (const auto& [name, value] : request.headers) {
        text += name == "authorization" ? "" : name + ": " + value + "\n";
    }
    const std::lock_guard guard(mutex_);
    std::ofstream file(options.received_file, std::ios::app | std::ios::binary);
    file << text;
    if (request.body && !request.raw_path.ends_with("/oauth2/v2.0/token")) {
        file << as_text(request.body->view()) << '\n';
    }
}

void FakeAzure::Server::count(std::string_view op, const Reply* reply) {
    std::string code = reply == nullptr ? "none" : std::to_string(reply->status);
    if (reply != nullptr && !reply->code.empty()) {
        code += " " + reply->code;
    }
    const std::lock_guard guard(mutex_);
    ++stats_.requests[std::string(op)][code];
}

FakeStats FakeAzure::Server::stats() {
    const std::lock_guard guard(mutex_);
    FakeStats stats = stats_;
    stats.bytes_in = bytes_in_;
    stats.bytes_out = bytes_out_;
    stats.connections = connections_;
    return stats;
}

void FakeAzure::Server::reset_stats() {
    const std::lock_guard guard(mutex_);
    stats_ = {};
    bytes_in_ = bytes_out_ = connections_ = 0;
}

}  // namespace cw::fake_azure
