#include "tests/agent/model_link.h"

#include <algorithm>
#include <utility>

namespace cw::agent::test {
namespace {

class ModelLink final : public Link {
public:
    ModelLink(ModelServer& server, std::string peer)
        : server_(server), session_(server.sessions), peer_(std::move(peer)) {}
    bool writable() const noexcept override { return pending_.size() < 256 * kib; }
    Result<void> write(Bytes bytes) override {
        pending_.insert(pending_.end(), bytes.begin(), bytes.end());
        return {};
    }
    Result<void> flush() override {
        CW_TRY(check());
        const ByteVector all = std::exchange(pending_, {});
        server_.receive(all);
        return {};
    }
    Result<std::size_t> read(MutableBytes to) override {
        // What the server said before it closed still arrives.
        const std::size_t n = std::min(to.size(), server_.out.size());
        if (n == 0) {
            CW_TRY(check());
        }
        std::copy_n(server_.out.begin(), n, to.begin());
        server_.out.erase(server_.out.begin(), server_.out.begin() + static_cast<long>(n));
        return n;
    }
    int fd() const noexcept override { return -1; }
    bool wants_write() const noexcept override { return false; }
    std::string peer() const override { return peer_; }

private:
    Result<void> check() const {
        if (server_.closed || server_.sessions != session_) {
            return fail(Errc::connection_lost, "model closed");
        }
        return {};
    }
    ModelServer& server_;
    std::uint64_t session_;
    std::string peer_;
    ByteVector pending_;
};

}  // namespace

std::optional<Result<std::unique_ptr<Link>>> ModelConnector::poll() {
    if (!std::exchange(pending_, false)) {
        return std::nullopt;
    }
    ++attempts;
    if (!up) {
        return fail(Errc::unreachable, "model is down");
    }
    server_.open_session();
    return std::make_unique<ModelLink>(server_, peer);
}

}  // namespace cw::agent::test
