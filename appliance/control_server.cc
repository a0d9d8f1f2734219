#include "appliance/control_server.h"

#include "appliance/console.h"
#include "appliance/reloading_tls.h"
#include "base/assert.h"
#include "base/enrolment.h"
#include "base/log.h"
#include "base/net.h"
#include "ingest/wire/enrolment.h"

#include <atomic>
#include <thread>
#include <vector>

#include <httplib.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr std::size_t body_bytes_max = 256 * 1024;
constexpr const char* json_type = "application/json";
constexpr std::size_t socket_threads = 8;
constexpr std::time_t idle_s = 2;  // Of a connection between two requests.

int status_of(Errc code) {
    switch (code) {
        case Errc::not_found:
        case Errc::point_not_found:
        case Errc::blob_not_found:
            return 404;
        case Errc::usage:
        case Errc::config_invalid:
            return 400;
        case Errc::authz_denied:
            return 403;
        case Errc::needs_restart:
        case Errc::target_unsafe:
        case Errc::target_switching:
            return 409;
        case Errc::token_refused:
        case Errc::identity_refused:
            return 403;
        case Errc::server_busy:
        case Errc::unreachable:
            return 503;
        default:
            return 500;
    }
}

// RFC 9457. The status is the caller's.
void set_problem(httplib::Response& response, const Error& error) {
    response.set_content(nlohmann::json{{"title", cause_of(error.code)},
                                        {"code", name_of(error.code)},
                                        {"number", raw(error.code)},
                                        {"detail", error.detail},
                                        {"next", advice_of(error)}}
                             .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace),
                         "application/problem+json");
}

void answer(httplib::Response& response, const Result<std::string>& result) {
    if (result) {
        response.set_content(*result, json_type);
        return;
    }
    const Error& error = result.error();
    response.status = status_of(error.code);
    if (error.code == Errc::server_busy) {
        response.set_header("Retry-After", "60");
    }
    set_problem(response, error);
}

// What the library answers by itself, before any handler is asked, or instead of one.
Error problem_of(int status, const httplib::Request& request) {
    const std::string shown = escape_for_display(request.method + " " + request.path);
    switch (status) {
        case 404:
            return {Errc::not_found, "there is no " + shown + " here",
                    "GET /metrics, /v1/status or /v1/events; orders are given with `causeway`"};
        case 413:
            return {Errc::usage,
                    "the body has more than " + std::to_string(body_bytes_max) + " bytes",
                    "send a shorter body"};
        case 414:
            return {Errc::usage, "the address is too long", "send a shorter one"};
        case 400:
            return {Errc::usage, "the request is not sound HTTP", "mend the request"};
        case 500:
            return {Errc::internal, shown + " ended by an exception", ""};
        default:
            return {Errc::usage, "HTTP status " + std::to_string(status), "mend the request"};
    }
}

void add_problems(httplib::Server& server) {
    using Response = httplib::Server::HandlerResponse;
    const httplib::Server::HandlerWithResponse tell = [](const httplib::Request& request,
                                                         httplib::Response& response) {
        if (!response.body.empty()) {
            return Response::Unhandled;
        }
        set_problem(response, problem_of(response.status, request));
        return Response::Handled;
    };
    server.set_error_handler(tell);
}

void add_console(httplib::Server& server) {
    for (const ConsoleFile& file : console_files) {
        server.Get(file.path, [&file](const httplib::Request&, httplib::Response& response) {
            response.set_header("Content-Security-Policy", console_policy);
            response.set_content(std::string(file.content), file.type);
        });
    }
}

// A browser that holds an operator's certificate shows it to this port for whatever page asks: only
// programs may give orders, and they do not say for which page they do.
bool sent_by_a_page(const httplib::Request& request) {
    return request.has_header("Origin") || request.has_header("Sec-Fetch-Site");
}

void add_routes(httplib::Server& server, const ControlHandlers& handlers) {
    server.set_payload_max_length(body_bytes_max);
    server.set_default_headers({{"X-Content-Type-Options", "nosniff"},
                                {"Referrer-Policy", "no-referrer"},
                                {"Cross-Origin-Resource-Policy", "same-origin"},
                                {"Cache-Control", "no-store"}});
    add_problems(server);
    add_console(server);
    server.Get("/metrics", [&handlers](const httplib::Request&, httplib::Response& response) {
        response.set_content(handlers.metrics(), "text/plain; version=0.0.4");
    });
    server.Get(R"(/v1/([a-z0-9/_-]{1,128}))",
               [&handlers](const httplib::Request& request, httplib::Response& response) {
                   std::string name = request.matches[1].str();
                   if (request.has_param("since")) {
                       name += "?since=" + request.get_param_value("since");
                   }
                   answer(response, handlers.get(name));
               });
    server.Post(R"(/v1/([a-z0-9/_-]{1,128}))",
                [&handlers](const httplib::Request& request, httplib::Response& response) {
                    answer(response, sent_by_a_page(request)
                                         ? fail(Errc::authz_denied, "orders from a web page")
                                         : handlers.post(request.matches[1].str(), request.body));
                });
}

// Which endpoint a connection of the port may use was settled in its handshake; here it is held to.
void add_gate(httplib::Server& server, ControlDoor& door) {
    using Response = httplib::Server::HandlerResponse;
    server.set_pre_routing_handler([&door](const httplib::Request& request,
                                           httplib::Response& response) {
        CW_ASSERT(request.ssl != nullptr);
        const auto refuse = [&](Error error) {
            door.refused(*request.ssl, error);
            answer(response, std::unexpected(std::move(error)));
            return Response::Handled;
        };
        const bool to_enrol = request.method == "POST" && request.path == wire::enrol_path;
        if (speaks_enrolment(request.ssl)) {
            if (!to_enrol) {
                return refuse({Errc::identity_refused, "enrolment is all there is here"});
            }
            if (request.get_header_value<std::uint64_t>("Content-Length") > wire::enrol_bytes_max) {
                return refuse({Errc::usage, "a request to enrol is shorter"});
            }
            return Response::Unhandled;
        }
        const Result<Identity> peer = peer_identity(request.ssl);
        if (!peer || peer->role != Role::operator_) {
            return refuse({Errc::identity_refused, "only operators may ask here"});
        }
        door.admit(*request.ssl);
        return Response::Unhandled;
    });
}

void add_enrolment(httplib::Server& server, const ControlHandlers& handlers, ControlDoor& door) {
    server.Post(std::string(wire::enrol_path), [&](const httplib::Request& request,
                                                   httplib::Response& response) {
        if (!speaks_enrolment(request.ssl)) {
            answer(response, fail(Errc::not_found, "operators are not enrolled here"));
            return;
        }
        EnrolCall call{.address = request.remote_addr, .peer = {}, .body = request.body};
        if (const Result<Identity> peer = peer_identity(request.ssl)) {
            call.peer = *peer;
        }
        const ControlDoor::Answering answering(door, *request.ssl);
        answer(response, handlers.enrol(call));
    });
}

// The port's connections wait at the door for a thread.
class DoorQueue final : public httplib::TaskQueue {
public:
    explicit DoorQueue(ControlDoor& door) : door_(door) { door_.open(); }
    void enqueue(std::function<void()> connection) override { door_.enter(std::move(connection)); }
    void shutdown() override { door_.close(); }

private:
    ControlDoor& door_;
};

class HttpControlServer final : public ControlServer {
public:
    HttpControlServer(ControlHandlers handlers, const ControlDoor::Patience& patience)
        : handlers_(std::move(handlers)),
          tls_(Role::operator_, handlers_.enrol != nullptr),
          door_(patience) {}
    ~HttpControlServer() override {
        for (const auto& server : servers_) {
            server->stop();
        }
        threads_.clear();
        if (!socket_path_.empty()) {
            ::unlink(socket_path_.c_str());
        }
    }

    Result<void> start_socket(const std::string& path) {
        if (path.size() >= 108) {  // sockaddr_un
            return fail(Errc::config_invalid, "the socket path is longer than 107 bytes: " + path);
        }
        ::unlink(path.c_str());  // A stale socket of a killed process would refuse the bind.
        auto server = std::make_unique<httplib::Server>();
        server->set_address_family(AF_UNIX);
        // What is bound has the mode of its socket; the process's mask is every thread's.
        server->set_socket_options([](int socket) { CW_ASSERT(::fchmod(socket, 0600) == 0); });
        if (!server->bind_to_port(path, 80)) {
            return fail_errno(Errc::io_error, "cannot listen on " + path, errno);
        }
        socket_path_ = path;
        return run(std::move(server), [] { return new httplib::ThreadPool(socket_threads); });
    }

    Result<void> start_tcp(const std::string& listen, const TlsFiles& tls) {
        CW_TRY_ASSIGN(const HostPort address, parse_host_port(listen));
        // Only operators may use this port: any other valid certificate is refused in the
        // handshake, but by the protocol of enrolment.
        Result<void> prepared;
        auto server = std::make_unique<httplib::SSLServer>([&](SSL_CTX& context) {
            prepared = tls_.serve(context, tls);
            door_.watch(context);
            return prepared.has_value();
        });
        CW_TRY(prepared);
        const std::string host = address.host.empty() ? "0.0.0.0" : address.host;
        if (address.port == 0) {
            const int port = server->bind_to_any_port(host);
            port_ = static_cast<std::uint16_t>(port > 0 ? port : 0);
        } else if (server->bind_to_port(host, address.port)) {
            port_ = address.port;
        }
        if (port_ == 0) {
            return fail_errno(Errc::io_error, "cannot listen on " + listen, errno);
        }
        add_gate(*server, door_);
        if (handlers_.enrol) {
            add_enrolment(*server, handlers_, door_);
        }
        return run(std::move(server), [this] { return new DoorQueue(door_); });
    }

    [[nodiscard]] std::uint16_t port() const override { return port_; }
    Result<void> reload_tls(const TlsFiles& tls) override {
        return port_ == 0 ? Result<void>{} : tls_.load(tls);
    }

private:
    // `make_queue` is called once the server listens: a stop() before that would be lost.
    Result<void> run(std::unique_ptr<httplib::Server> server,
                     std::function<httplib::TaskQueue*()> make_queue) {
        add_routes(*server, handlers_);
        server->set_keep_alive_timeout(idle_s);
        enum State { starts, listens, ended };
        const auto state = std::make_shared<std::atomic<State>>(starts);
        server->new_task_queue = [state, make_queue = std::move(make_queue)] {
            httplib::TaskQueue* const queue = make_queue();
            state->store(listens);
            state->notify_all();
            return queue;
        };
        threads_.emplace_back([raw_server = server.get(), state] {
            raw_server->listen_after_bind();
            state->store(ended);
            state->notify_all();
        });
        state->wait(starts);
        if (*state == ended) {
            return fail(Errc::io_error, "the control port does not listen");
        }
        servers_.push_back(std::move(server));
        return {};
    }

    ControlHandlers handlers_;
    ReloadingTls tls_;
    ControlDoor door_;  // Of the port: its servers come after it.
    std::string socket_path_;
    std::uint16_t port_ = 0;
    std::vector<std::unique_ptr<httplib::Server>> servers_;
    std::vector<std::jthread> threads_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const ControlOptions& options,
                                                            ControlHandlers handlers) {
    auto server = std::make_unique<HttpControlServer>(std::move(handlers), options.patience);
    CW_TRY(server->start_socket(options.socket_path));
    if (!options.listen.empty()) {
        CW_TRY(server->start_tcp(options.listen, options.tls));
    }
    return server;
}

}  // namespace cw::appliance
