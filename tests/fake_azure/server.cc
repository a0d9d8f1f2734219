#include "tests/fake_azure/server.h"

#include "base/checksum.h"
#include "egress/blob/http_parse.h"

#include <algorithm>
#include <csignal>

#include <fcntl.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

namespace cw::fake_azure {
namespace {

constexpr std::size_t head_bytes_max = 64 * 1024;
constexpr std::uint64_t body_bytes_max = 512ULL << 20, kept_bytes_max = 256 * 1024;

// What the rule adds to a listing; all other replies stay as they are.
void list_also(const FaultRule& rule, Reply& reply) {
    constexpr std::string_view blobs_end = "</Blobs>", next = "<NextMarker>";
    const std::size_t end = reply.text.find(blobs_end);
    if (end == std::string::npos) {
        return;
    }
    std::string more;
    for (std::int64_t i = 0; i < rule.repeat; ++i) {
        for (const std::string& name : rule.names) {
            more += "<Blob><Name>" + xml_escape(name) +
                    "</Name><Properties><Content-Length>7</Content-Length></Properties></Blob>";
        }
    }
    reply.text.insert(end, more);
    const std::size_t marker = reply.text.rfind(next);
    if (!rule.marker.empty() && marker != std::string::npos) {
        reply.text.resize(marker);
        reply.text +=
            std::string(next) + xml_escape(rule.marker) + "</NextMarker></EnumerationResults>";
    }
}

}  // namespace

void FakeAzure::Server::ContextFree::operator()(SSL_CTX* context) const noexcept {
    SSL_CTX_free(context);
}

FakeAzure::Server::Server(FakeAzureOptions o) : options(std::move(o)), faults(options.seed) {
    if (!options.certificate.empty()) {
        context_.reset(SSL_CTX_new(TLS_server_method()));
        SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
        CW_ASSERT(SSL_CTX_use_certificate_chain_file(context_.get(), options.certificate.c_str()) ==
                  1);
        CW_ASSERT(SSL_CTX_use_PrivateKey_file(context_.get(), options.key.c_str(),
                                              SSL_FILETYPE_PEM) == 1);
    }
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL.
    auto listener = listen_tcp({"127.0.0.1", options.port});
    CW_ASSERT(listener.has_value());
    listener_ = std::move(*listener);
    const int flags = ::fcntl(listener_.get(), F_GETFL);
    ::fcntl(listener_.get(), F_SETFL, flags & ~O_NONBLOCK);
    port = local_port(listener_).value();
    acceptor_ = std::thread([this] { accept_loop(); });
}

FakeAzure::Server::~Server() {
    {
        const std::lock_guard guard(mutex_);
        stopping_ = true;
    }
    stopped_.notify_all();
    ::shutdown(listener_.get(), SHUT_RDWR);  // Wakes the accept().
    acceptor_.join();
    reap(true);
}

void FakeAzure::Server::accept_loop() {
    while (!stopping_) {
        Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!socket.valid()) {
            continue;  // Stopping, or the peer gave up before it was accepted.
        }
        ++connections_;
        reap(false);
        const std::lock_guard guard(mutex_);
        Peer& peer = peers_.emplace_back();
        peer.connection = std::make_unique<Connection>(std::move(socket), context_.get());
        peer.thread = std::thread([this, &peer] {
            serve(*peer.connection);
            peer.connection->shut_down();
            peer.finished = true;
        });
    }
}

void FakeAzure::Server::reap(bool all) {
    std::list<Peer> done;
    {
        const std::lock_guard guard(mutex_);
        for (auto at = peers_.begin(); at != peers_.end();) {
            const auto next = std::next(at);
            if (all || at->finished) {
                at->connection->shut_down();
                done.splice(done.end(), peers_, at);
            }
            at = next;
        }
    }
    for (Peer& peer : done) {
        peer.thread.join();
    }
}

void FakeAzure::Server::serve(Connection& connection) {
    if (!connection.handshake()) {
        return;
    }
    Session session{.connection = connection, .head = {}};
    while (!stopping_ && serve_one(session)) {
    }
}

bool FakeAzure::Server::serve_one(Session& session) {
    auto request = read_head(session);
    if (!request) {
        return false;
    }
    request->tls = session.connection.tls();
    locate(*request);
    return answer(session, *request);
}

std::optional<Request> FakeAzure::Server::read_head(Session& session) {
    session.head.erase(session.head.begin(),
                       session.head.begin() + static_cast<std::ptrdiff_t>(session.used));
    session.used = 0;
    for (;;) {
        const std::string_view text = as_text(session.head);
        if (const std::size_t end = text.find("\r\n\r\n"); end != std::string_view::npos) {
            session.used = end + 4;
            return parse_head(text.substr(0, end + 4));
        }
        if (text.size() > head_bytes_max) {
            return std::nullopt;
        }
        std::array<std::byte, 8192> piece;
        const std::size_t n = session.connection.read(piece.data(), piece.size());
        if (n == 0) {
            return std::nullopt;
        }
        bytes_in_ += n;
        session.head.insert(session.head.end(), piece.begin(),
                            piece.begin() + static_cast<std::ptrdiff_t>(n));
    }
}

std::size_t FakeAzure::Server::read_some(Session& session, std::byte* out, std::size_t size) {
    const std::size_t left = session.head.size() - session.used;
    if (left == 0) {
        return session.connection.read(out, size);
    }
    const std::size_t n = std::min(left, size);
    std::memcpy(out, &session.head[session.used], n);
    session.used += n;
    return n;
}

bool FakeAzure::Server::read_body(Session& session, Request& request, std::uint64_t length) {
    const bool keep = !options.discard || length <= kept_bytes_max || request.has("content-md5");
    auto body = keep ? std::make_shared<Buffer>(length) : nullptr;
    std::uint64_t done = 0, crc = 0;
    while (done < length) {
        // The CRC is taken piece by piece, while the bytes are still in the cache.
        const std::size_t room = std::min<std::uint64_t>(length - done, session.scratch.size());
        std::byte* out = keep ? body->data() + done : session.scratch.data();
        const std::size_t n = read_some(session, out, room);
        if (n == 0) {
            return false;
        }
        crc = crc64nvme({out, n}, crc);
        done += n;
        bytes_in_ += n;
    }
    request.body_crc = crc;
    request.body = std::move(body);
    return true;
}

bool FakeAzure::Server::discard_body(Session& session, std::uint64_t length) {
    while (length > 0) {
        const std::size_t n = read_some(session, session.scratch.data(),
                                        std::min<std::uint64_t>(length, session.scratch.size()));
        if (n == 0) {
            return false;
        }
        length -= n;
        bytes_in_ += n;
    }
    return true;
}

// Splits the path into account, container and blob; host style if the host names the account.
void FakeAzure::Server::locate(Request& request) const {
    const std::string path = percent_decode(request.raw_path).value_or("/");
    std::string_view rest = std::string_view(path).substr(1);
    const auto take = [&rest] {
        const std::string_view part = rest.substr(0, rest.find('/'));
        rest.remove_prefix(std::min(part.size() + 1, rest.size()));
        return std::string(part);
    };
    const std::string host_prefix = std::string(test_account) + ".";
    request.account = request.header("host").starts_with(host_prefix) ? test_account : take();
    request.container = take();
    request.blob = rest;
}

bool FakeAzure::Server::answer(Session& session, Request& request) {
    const bool writes = request.method == "PUT" || request.method == "POST";
    if (request.has("transfer-encoding") || (writes && !request.has_length)) {
        const Reply reply(411, "MissingContentLengthHeader");
        count("malformed", &reply);
        send(session, request, reply, false);
        return false;
    }
    if (request.content_length > body_bytes_max) {
        const Reply reply(413, "RequestBodyTooLarge");
        count("malformed", &reply);
        send(session, request, reply, false);
        return false;
    }
    if (request.header("expect") == "100-continue" &&
        !session.connection.write(as_bytes("HTTP/1.1 100 Continue\r\n\r\n"))) {
        return false;
    }
    const Operation operation = operation_of(request);
    const bool own = request.raw_path.starts_with("/__fake/");
    const std::string_view op = own ? "control" : name_of(operation);
    const FaultRule fault =
        own ? FaultRule{}
            : faults.next(op, request.container + "/" + request.blob, time.steady_ns());
    if (fault.action == Action::reset_mid_body) {
        discard_body(session, request.content_length / 2);
        count(op, nullptr);
        session.connection.reset();
        return false;
    }
    if (!read_body(session, request, request.content_length)) {
        return false;
    }
    if (!own && !options.received_file.empty()) {
        note_received(request);
    }
    land_late();
    const std::string kind = std::string(op) + " " + request.container;
    note_begin(kind);
    auto reply = control(request);
    reply = reply ? std::move(reply) : identity(request);
    reply = reply ? std::move(reply) : run(operation, request, fault);
    note_end(kind);
    if (!own) {
        count(op, reply ? &*reply : nullptr);
    }
    return reply && send(session, request, *reply, fault.action == Action::truncate) &&
           !reply->close && fault.action != Action::truncate;
}

std::optional<Reply> FakeAzure::Server::run(Operation operation, Request& request,
                                            const FaultRule& fault) {
    const auto html = [](int status) {
        Reply reply(status);
        reply.from_service = false;
        reply.text = "<html><body>Blocked by your friendly proxy</body></html>";
        return reply.with("Content-Type", "text/html");
    };
    switch (fault.action) {
        case Action::error: {
            Reply reply(fault.status, fault.code);
            reply.message = fault.message.empty() ? reply.message : fault.message;
            return reply;
        }
        case Action::throttle:
            return Reply(503, "ServerBusy")
                .with("Retry-After", std::to_string(fault.retry_after_s));
        case Action::timeout:
            return Reply(500, "OperationTimedOut");
        case Action::timeout_applied:
            (void)execute(operation, request);
            return Reply(500, "OperationTimedOut");
        case Action::timeout_late: {
            const std::lock_guard guard(mutex_);
            late_.push_back({time.steady_ns() + fault.delay_ms * 1'000'000, operation, request});
            return Reply(500, "OperationTimedOut");
        }
        case Action::drop:
            return std::nullopt;
        case Action::drop_applied:
            (void)execute(operation, request);
            return std::nullopt;
        case Action::hang:
            hang();
            return std::nullopt;
        case Action::hang_applied:
            (void)execute(operation, request);
            hang();
            return std::nullopt;
        case Action::garbage:
            return html(200);
        case Action::middlebox:
            return html(fault.status);
        case Action::expired_401:
            return Reply(401, "InvalidAuthenticationInfo");
        case Action::expired_403:
            return Reply(403, "AuthenticationFailed");
        case Action::slow:
            pause(fault.delay_ms);
            break;
        case Action::none:
        case Action::list_also:
        case Action::truncate:
        case Action::reset_mid_body:
        case Action::corrupt:
            break;
    }
    if (fault.action == Action::corrupt && request.body && request.body->size() > 0) {
        // The checksum in the reply is of what was stored, as the service would say.
        auto damaged = std::make_shared<Buffer>(request.body->size());
        std::copy_n(request.body->view().begin(), request.body->view().size(), damaged->data());
        damaged->data()[0] ^= std::byte{1};
        request.damaged = true;
        request.body_crc = crc64nvme(damaged->view());
        request.body = std::move(damaged);
    }
    Reply reply = execute(operation, request);
    if (fault.action == Action::corrupt && reply.content && reply.length > 0) {
        auto damaged = std::make_shared<Buffer>(reply.content->size());
        std::copy_n(reply.content->view().begin(), reply.content->view().size(), damaged->data());
        damaged->data()[reply.offset] ^= std::byte{1};
        reply.content = std::move(damaged);
    }
    if (fault.action == Action::list_also) {
        list_also(fault, reply);
    }
    return reply;
}

Reply FakeAzure::Server::execute(Operation operation, Request& request) {
    if (auto refused = authentication.check(request, demand_of(operation), time.wall_s())) {
        return *refused;
    }
    return service.handle(operation, request);
}

void FakeAzure::Server::land_late() {
    std::list<LatePut> due;
    {
        const std::lock_guard guard(mutex_);
        for (auto at = late_.begin(); at != late_.end();) {
            const auto next = std::next(at);
            if (at->due_ns <= time.steady_ns()) {
                due.splice(due.end(), late_, at);
            }
            at = next;
        }
    }
    for (LatePut& put : due) {
        (void)service.handle(put.operation, put.request);  // It was admitted when it came.
    }
}

void FakeAzure::Server::hang() {
    std::unique_lock guard(mutex_);
    stopped_.wait(guard, [this] { return stopping_.load(); });
}

void FakeAzure::Server::pause(std::int64_t ms) {
    std::unique_lock guard(mutex_);
    stopped_.wait_for(guard, std::chrono::milliseconds(ms), [this] { return stopping_.load(); });
}

void FakeAzure::Server::note_begin(const std::string& kind) {
    const std::lock_guard guard(mutex_);
    const std::uint64_t now = ++in_progress_[kind];
    std::uint64_t& most = stats_.most_at_once[kind];
    most = std::max(most, now);
}

void FakeAzure::Server::note_end(const std::string& kind) {
    const std::lock_guard guard(mutex_);
    --in_progress_[kind];
}

}  // namespace cw::fake_azure
