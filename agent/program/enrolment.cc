#include "agent/program/enrolment.h"

#include "agent/full_disk.h"
#include "agent/session/own_identity.h"
#include "base/assert.h"
#include "base/enrolment.h"
#include "base/log.h"
#include "ingest/wire/enrolment.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include <httplib.h>
#include <nlohmann/json.hpp>
#include <openssl/ssl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr std::size_t file_bytes_max = 64 * kib;
constexpr int answer_timeout_s = 30;

std::string key_path(const std::string& state) {
    return state + "/enrol.key";
}

TlsFiles files_in(const std::string& state) {
    return {.ca_file = state + "/ca.crt",
            .cert_file = state + "/machine.pem",
            .key_file = state + "/machine.pem"};
}

// A token that others can read is no secret any more.
Result<EnrolmentToken> read_token(const std::string& path) {
    const Fd opened(path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!opened.valid() || ::fstat(opened.get(), &status) != 0) {
        return fail_errno(Errc::not_found, "token file " + path, errno);
    }
    if (S_ISREG(status.st_mode) && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return fail(Errc::usage, path + " may be read by others: chmod 0600, or give it by a pipe");
    }
    std::array<char, 512> text{};
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t n = ::read(opened.get(), text.data() + size, text.size() - size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        size += static_cast<std::size_t>(n);
    }
    auto token = parse_token({text.data(), size});
    wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
    return token;
}

Result<std::string> make_request(Disk& disk, const std::string& state) {
    CW_TRY_ASSIGN(const bool again, disk.exists(key_path(state)));
    return again ? request_for_key(disk, key_path(state)) : request_certificate(key_path(state));
}

Result<std::string> read_reply(const httplib::Result& result, const HostPort& server) {
    if (!result) {
        return fail(Errc::unreachable,
                    to_string(server) + ": " + httplib::to_string(result.error()));
    }
    if (result->status == 200) {
        return result->body;
    }
    const json problem = json::parse(result->body, nullptr, false);
    if (problem.is_object() && problem.contains("number") &&
        problem["number"].is_number_unsigned() && problem["number"].get<unsigned>() <= UINT16_MAX) {
        const auto code = errc_from_number(problem["number"].get<std::uint16_t>());
        return fail(code.value_or(Errc::internal), problem.value("detail", std::string()));
    }
    return fail(Errc::unreachable,
                to_string(server) + " answers with status " + std::to_string(result->status));
}

// `prepare` makes the client's context trust the right server and nobody else.
template <typename Prepare>
Result<wire::EnrolAnswer> ask(const HostPort& server, const wire::EnrolRequest& request,
                              Prepare&& prepare) {
    httplib::SSLClient client(server.host, server.port);
    SSL_CTX* const context = client.ssl_context();
    if (context == nullptr) {
        return fail(Errc::tls_failed, "no TLS context");
    }
    // The context judges the server in the handshake; the library would do so by host names.
    client.enable_server_certificate_verification(false);
    client.set_connection_timeout(answer_timeout_s);
    client.set_read_timeout(answer_timeout_s);
    client.set_write_timeout(answer_timeout_s);
    CW_TRY(prepare(*context));
    offer_enrolment(*context);
    const Secret<std::string> body = encode(request);
    CW_TRY_ASSIGN(
        const std::string reply,
        read_reply(client.Post(std::string(wire::enrol_path), body.reveal(), "application/json"),
                   server));
    return wire::parse_enrol_answer(reply);
}

Result<wire::EnrolAnswer> ask_with_token(const HostPort& server, const EnrolmentToken& token,
                                         const wire::EnrolRequest& request) {
    PinnedAuthority pinned{.digest = token.authority};
    auto answer = ask(server, request, [&](SSL_CTX& context) -> Result<void> {
        pin_authority(context, pinned);
        return {};
    });
    if (pinned.refused) {
        return fail(Errc::tls_failed, to_string(server) +
                                          " is not the server that the token is from: its "
                                          "certificate comes from another CA; nothing was sent");
    }
    return answer;
}

// Everything is beside its place and proven before anything is replaced.
Result<Enrolment> keep(Disk& disk, const std::string& state, const wire::EnrolAnswer& answer,
                       Enrolment enrolment) {
    const std::string fresh_pem = state + "/machine.pem.new", fresh_ca = state + "/ca.crt.new";
    CW_TRY_ASSIGN(ByteVector pem, read_file(disk, key_path(state), file_bytes_max));
    const Bytes certificate = as_bytes(answer.certificate);
    pem.insert(pem.end(), certificate.begin(), certificate.end());
    const auto written = write_file_atomically(disk, fresh_pem, pem, 0600);
    wipe(pem);
    CW_TRY(written);
    CW_TRY(write_file_atomically(disk, fresh_ca, as_bytes(answer.authorities), 0644));
    CW_TRY_ASSIGN(
        const MachineId machine,
        own_machine_id({.ca_file = fresh_ca, .cert_file = fresh_pem, .key_file = fresh_pem}));
    if (machine != answer.machine) {
        return fail(Errc::identity_refused, "the certificate is for " + to_string(machine));
    }
    enrolment.files = files_in(state);
    enrolment.machine = machine;
    enrolment.replication = {enrolment.control.host, answer.replication_port};
    CW_TRY(disk.rename(fresh_ca, enrolment.files.ca_file));
    CW_TRY(disk.rename(fresh_pem, enrolment.files.cert_file));
    CW_TRY(disk.sync_directory(state));
    const std::string note = json{
        {"control", to_string(enrolment.control)},
        {"replication", to_string(enrolment.replication)},
        {"machine",
         to_string(machine)}}.dump(-1, ' ', false, json::error_handler_t::replace);
    CW_TRY(write_file_atomically(disk, state + "/enrolment.json", as_bytes(note + '\n')));
    CW_TRY(disk.remove(key_path(state)));
    return enrolment;
}

bool worth_another(const Error& error) {
    return error.code == Errc::server_busy || error.code == Errc::unreachable;
}

}  // namespace

Result<Enrolment> read_enrolment(Disk& disk, const std::string& state_directory) {
    const std::string path = state_directory + "/enrolment.json";
    CW_TRY_ASSIGN(const ByteVector bytes, read_file(disk, path, file_bytes_max));
    const json note = json::parse(as_text(bytes), nullptr, false);
    const auto text = [&](const char* key) {
        return note.is_object() && note.contains(key) && note[key].is_string()
                   ? note[key].get<std::string>()
                   : std::string();
    };
    const auto control = parse_host_port(text("control"));
    const auto replication = parse_host_port(text("replication"));
    const auto machine = parse_id<MachineId>(text("machine"));
    if (!control || !replication || !machine) {
        return fail(Errc::config_invalid, path + " is damaged: enrol again");
    }
    return Enrolment{*control, *replication, *machine, files_in(state_directory)};
}

Result<Enrolment> enrol(Disk& disk, const EnrolCommand& command) {
    CW_TRY(disk.create_directories(command.state_directory));
    CW_TRY_ASSIGN(const EnrolmentToken token, read_token(command.token_file));
    wire::EnrolRequest request;
    request.token = Secret(to_hex(token.secret.reveal()));
    request.name = command.name;
    const auto before = read_enrolment(disk, command.state_directory);
    if (before) {
        request.machine = before->machine;
    } else if (before.error().code != Errc::not_found) {
        return std::unexpected(before.error());
    }
    CW_TRY_ASSIGN(request.csr, name_full_disk(make_request(disk, command.state_directory),
                                              command.state_directory));
    using std::chrono::steady_clock;
    const auto deadline = steady_clock::now() + std::chrono::nanoseconds(command.timeout_ns);
    auto pause = std::chrono::milliseconds(500);
    for (;;) {
        const auto answer = ask_with_token(command.server, token, request);
        if (answer) {
            Enrolment enrolment;
            enrolment.control = command.server;
            return name_full_disk(
                keep(disk, command.state_directory, *answer, std::move(enrolment)),
                command.state_directory);
        }
        if (!worth_another(answer.error()) || steady_clock::now() + pause > deadline) {
            return std::unexpected(answer.error());
        }
        log_info("agent.enrol.again", {{"error", answer.error()}});
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, std::chrono::milliseconds(10'000));
    }
}

Result<Enrolment> renew(Disk& disk, const std::string& state_directory) {
    CW_TRY_ASSIGN(const Enrolment now, read_enrolment(disk, state_directory));
    wire::EnrolRequest request;
    request.machine = now.machine;
    CW_TRY_ASSIGN(request.csr,
                  name_full_disk(make_request(disk, state_directory), state_directory));
    CW_TRY_ASSIGN(const wire::EnrolAnswer answer, ask(now.control, request, [&](SSL_CTX& context) {
                      return TlsContext::set_up(context, now.files);
                  }));
    if (answer.machine != now.machine) {
        return fail(Errc::identity_refused, "the server took us for " + to_string(answer.machine));
    }
    return name_full_disk(keep(disk, state_directory, answer, now), state_directory);
}

Result<Validity> validity_of(const TlsFiles& files, std::int64_t now_s) {
    CW_TRY_ASSIGN(const TlsContext context, TlsContext::client(files));
    const X509* const leaf = SSL_CTX_get0_certificate(context.get());
    int days = 0, seconds = 0;
    CW_ASSERT(leaf != nullptr && ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(leaf),
                                                X509_get0_notAfter(leaf)) == 1);
    return Validity{context.expires_in_s(now_s), (days * 86'400LL + seconds) / 3};
}

}  // namespace cw::agent
