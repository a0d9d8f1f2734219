// Many at once: connections that do nothing, and handshakes without end.
#include "tests/hostile/rig.h"

#include <cstdio>
#include <string>
#include <vector>

#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

namespace cw::hostile {
namespace {

using test::TestClient;

bool is_open(const TestClient& client) {
    char byte = 0;
    const ssize_t got = ::recv(client.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

}  // namespace

// Holds `count` connections: every third has finished its handshake and is upgraded, the others
// have said nothing. Says "ready" and holds them until its input ends.
void run_crowd(const Target& target) {
    std::vector<TestClient> crowd;
    for (std::size_t i = 0; i < target.count; ++i) {
        const bool enrolled = i % 3 == 0;
        auto client = TestClient::connect(
            target.port, enrolled ? machine_context(target, 5000 + i % 60).get() : nullptr);
        if (client && (!enrolled || (client->handshake() && client->upgrade()))) {
            crowd.push_back(std::move(*client));
        }
    }
    std::size_t open = 0;
    for (const TestClient& client : crowd) {
        open += is_open(client) ? 1 : 0;
    }
    report("crowd: " + std::to_string(target.count) + " connections are held",
           open == target.count ? "" : "only " + std::to_string(open));
    std::puts("ready");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
    }
}

// `count` handshakes without a certificate, as fast as they can be begun. One was begun when its
// hello went out, whatever has come of it since: on a busy machine the server may have answered, or
// ended it, before this call returns. A connection that did not come about is tried again.
void run_storm(const Target& target) {
    const Context context = bare_context();
    std::vector<TestClient> storm;
    std::size_t begun = 0;
    std::string why;
    for (std::size_t i = 0; i < 2 * target.count && begun < target.count; ++i) {
        auto client = TestClient::connect(target.port, context.get());
        if (client) {
            ERR_clear_error();
            SSL_do_handshake(client->ssl());  // The hello goes out; nobody waits.
            begun += BIO_number_written(SSL_get_wbio(client->ssl())) > 0 ? 1 : 0;
            storm.push_back(std::move(*client));
        } else {
            why = ": " + to_string(client.error());
        }
        if (storm.size() >= 256) {  // Descriptors are ours, too.
            storm.clear();
        }
    }
    report("storm: " + std::to_string(target.count) + " handshakes were begun",
           begun == target.count ? "" : "only " + std::to_string(begun) + why);
}

}  // namespace cw::hostile
