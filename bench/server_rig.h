// A whole process server as its own process, with a blob sink in another: what pipeline_bench
// measures. Everything lives in one temporary directory and is stopped and removed.
#pragma once

#include "base/tls.h"
#include "bench/child_process.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cw::bench {

struct RigOptions {
    std::string bin;        // Directory of causewayd, causeway and fake_azure.
    std::string directory;  // On the disk that is to be measured; made by the caller.
    std::string compression, verify;
    std::uint64_t cache_bytes = 0;
    unsigned compute_threads = 0;  // 0: one per core
};

class ServerRig {
public:
    // Makes the certificates, starts the sink, creates the vault, starts the server and waits until
    // it is ready (its cache is pre-written then). Errors: internal, with the log's last line.
    static Result<std::unique_ptr<ServerRig>> start(const RigOptions& options);
    ~ServerRig();

    [[nodiscard]] pid_t server_pid() const noexcept { return server_->pid(); }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    // A new machine's certificate.
    Result<TlsFiles> make_machine(const std::string& name);
    // Bytes sent to the store so far.
    Result<std::uint64_t> uploaded_bytes() const;
    // For a failure's evidence.
    [[nodiscard]] std::string last_log_line() const;
    // SIGTERM to the server; its exit code.
    int stop();

private:
    explicit ServerRig(RigOptions options) : options_(std::move(options)) {}
    Result<void> start_sink();
    Result<void> make_pki();
    Result<void> write_config();
    Result<void> create_vault();
    Result<void> start_server();
    [[nodiscard]] std::string path(const std::string& name) const {
        return options_.directory + "/" + name;
    }

    RigOptions options_;
    std::uint16_t sink_port_ = 0, port_ = 0;
    std::unique_ptr<ChildProcess> sink_, server_;
};

}  // namespace cw::bench
