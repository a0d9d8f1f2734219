#include "bench/server_rig.h"

#include "appliance/control_client.h"
#include "base/ids.h"
#include "base/random.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>
#include <poll.h>

namespace cw::bench {
namespace {

constexpr std::int64_t certificate_s = 86'400;
constexpr int poll_ms = 20, ready_polls = 6'000;  // Pre-writing the cache takes its time.
// Of the sink: public, checked by it like a real one.
constexpr const char* sink_account = "causewaytest";

Result<std::string> read_text(const std::string& path) {
    std::ifstream file(path);
    if (!file) {
        return fail(Errc::not_found, path);
    }
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string last_line(const std::string& path) {
    std::string line, last;
    std::ifstream file(path);
    while (std::getline(file, line)) {
        last = line;
    }
    return path + ": " + last;
}

// The word after `key` in the child's output, once it is there; the child must not end before.
Result<std::string> await_word(ChildProcess& child, const std::string& log, std::string_view mark,
                               std::string_view key) {
    for (int i = 0; i < ready_polls; ++i) {
        const auto text = read_text(log);
        const std::size_t line = text ? text->find(mark) : std::string::npos;
        const std::size_t at = line == std::string::npos ? line : text->find(key, line);
        const std::size_t end =
            at == std::string::npos ? at : text->find_first_of(" \n", at + key.size());
        if (end != std::string::npos) {
            return text->substr(at + key.size(), end - at - key.size());
        }
        if (child.ended()) {
            break;
        }
        ::poll(nullptr, 0, poll_ms);
    }
    return fail(Errc::internal, "not ready: " + last_line(log));
}

Result<void> write_text(const std::string& path, const std::string& text) {
    std::ofstream file(path);
    file << text;
    file.close();
    std::filesystem::permissions(
        path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    return file ? Result<void>() : Result<void>(fail(Errc::io_error, path));
}

}  // namespace

Result<std::unique_ptr<ServerRig>> ServerRig::start(const RigOptions& options) {
    // The constructor is private: make_unique cannot reach it.
    std::unique_ptr<ServerRig> rig(new ServerRig(options));
    CW_TRY(rig->make_pki());
    CW_TRY(rig->start_sink());
    CW_TRY(rig->write_config());
    CW_TRY(rig->create_vault());
    CW_TRY(rig->start_server());
    return rig;
}

ServerRig::~ServerRig() {
    stop();
}

int ServerRig::stop() {
    const int code = server_ ? server_->stop() : 0;
    server_.reset();
    if (sink_) {
        sink_->stop();
        sink_.reset();
    }
    return code;
}

Result<void> ServerRig::make_pki() {
    std::filesystem::create_directories(path("pki"));
    CW_TRY(create_ca(path("pki"), "pipeline bench", certificate_s));
    const auto random = make_system_random();
    return issue_certificate(
        path("pki"),
        {.identity = {.role = Role::process_server, .id = make_uuid_bytes(*random)},
         .common_name = "bench",
         .dns_or_ip = "127.0.0.1",
         .valid_seconds = certificate_s},
        path("pki/server"));
}

Result<void> ServerRig::start_sink() {
    std::filesystem::create_directories(path("sink"));
    const std::string log = path("sink.log");
    CW_TRY_ASSIGN(
        ChildProcess child,
        ChildProcess::run({options_.bin + "/fake_azure", "--port", "0", "--store", "discard",
                           "--self-signed", path("sink"), "--port-file", path("sink.port")},
                          log));
    sink_ = std::make_unique<ChildProcess>(std::move(child));
    CW_TRY_ASSIGN(const std::string key, await_word(*sink_, log, "key ", "key "));
    CW_TRY(write_text(path("sink.key"), key + "\n"));
    for (int i = 0; i < ready_polls && sink_port_ == 0; ++i) {
        std::ifstream(path("sink.port")) >> sink_port_;
        ::poll(nullptr, 0, sink_port_ == 0 ? poll_ms : 0);
    }
    return sink_port_ != 0 ? Result<void>() : Result<void>(fail(Errc::internal, last_line(log)));
}

Result<void> ServerRig::write_config() {
    std::ostringstream text;
    const auto quoted = [this](const std::string& name) { return "\"" + path(name) + "\"\n"; };
    text << "[server]\nname = \"bench\"\nstate_dir = " << quoted("state")
         << "[ingest]\nlisten = \"127.0.0.1:0\"\n"
         << "[cache]\npath = " << quoted("cache") << "size = \"" << options_.cache_bytes / mib
         << "MiB\"\n"
         << "[pipeline]\ncompression = \"" << options_.compression << "\"\nverify = \""
         << options_.verify << "\"\ncompute_threads = " << options_.compute_threads << "\n"
         << "[vault]\nurl = \"https://127.0.0.1:" << sink_port_ << "/" << sink_account
         << "/bench\"\nauth = \"shared-key\"\nkey_file = " << quoted("sink.key")
         << "ca_file = " << quoted("sink/fake-azure.crt")
         << "[security]\nca_file = " << quoted("pki/ca.crt")
         << "cert_file = " << quoted("pki/server.crt") << "key_file = " << quoted("pki/server.key")
         << "kek_file = " << quoted("kek");
    return write_text(path("causeway.toml"), text.str());
}

Result<void> ServerRig::create_vault() {
    const std::string log = path("vault.log");
    CW_TRY_ASSIGN(ChildProcess child, ChildProcess::run({options_.bin + "/causeway", "--config",
                                                         path("causeway.toml"), "vault", "create"},
                                                        log));
    return child.wait() == 0 ? Result<void>() : Result<void>(fail(Errc::internal, last_line(log)));
}

Result<void> ServerRig::start_server() {
    const std::string log = path("causewayd.log");
    CW_TRY_ASSIGN(
        ChildProcess child,
        ChildProcess::run({options_.bin + "/causewayd", "--config", path("causeway.toml")}, log));
    server_ = std::make_unique<ChildProcess>(std::move(child));
    CW_TRY_ASSIGN(const std::string port, await_word(*server_, log, "appliance.ready", " port="));
    port_ = static_cast<std::uint16_t>(std::stoul(port));
    return {};
}

Result<TlsFiles> ServerRig::make_machine(const std::string& name) {
    const auto random = make_system_random();
    const std::string prefix = path("pki/" + name);
    CW_TRY(issue_certificate(path("pki"),
                             {.identity = {.role = Role::machine, .id = make_uuid_bytes(*random)},
                              .common_name = name,
                              .dns_or_ip = "",
                              .valid_seconds = certificate_s},
                             prefix));
    return TlsFiles{
        .ca_file = path("pki/ca.crt"), .cert_file = prefix + ".crt", .key_file = prefix + ".key"};
}

std::string ServerRig::last_log_line() const {
    return last_line(path("causewayd.log"));
}

Result<std::uint64_t> ServerRig::uploaded_bytes() const {
    const appliance::ControlClient control{path("state/control.sock")};
    CW_TRY_ASSIGN(const std::string text, control.get("status"));
    const auto status = nlohmann::json::parse(text, nullptr, false);
    if (!status.is_object() || !status.contains("machines")) {
        return fail(Errc::internal, "the server's status has no machines");
    }
    std::uint64_t sum = 0;
    for (const auto& machine : status["machines"]) {
        sum += machine.value("uploaded_bytes", std::uint64_t{0});
    }
    return sum;
}

}  // namespace cw::bench
