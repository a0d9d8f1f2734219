// A ModelServer behind real TLS and the HTTP upgrade, on a thread of its own and a port of the
// kernel's choice. One connection at a time, the newest wins.
#pragma once

#include "base/net.h"
#include "base/tls.h"
#include "tests/agent/model_server.h"

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

namespace cw::agent::test {

class TlsModelServer {
public:
    // Makes a CA, a server's and a machine's certificate in `directory`.
    // `names`: hosts that the server's certificate is for.
    explicit TlsModelServer(const std::string& directory, const char* names = "127.0.0.1");
    ~TlsModelServer();

    // Runs `look` on the model while the server holds still.
    template <typename Look>
    auto with(Look&& look) {
        const std::lock_guard lock(mutex_);
        return look(model_);
    }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] TlsFiles client_files() const {
        return {directory_ + "/ca.crt", directory_ + "/machine.crt", directory_ + "/machine.key"};
    }

private:
    void loop();
    void serve(const TlsContext& context, int socket);
    bool exchange(SSL* ssl, int socket);

    const std::string directory_;
    Fd listener_;
    std::uint16_t port_ = 0;
    std::mutex mutex_;
    ModelServer model_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace cw::agent::test
