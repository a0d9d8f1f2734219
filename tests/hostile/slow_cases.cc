// Peers that take their time: each is cut off by the limit that it reaches, and all wait at once.
#include "tests/hostile/rig.h"

#include <chrono>
#include <functional>
#include <vector>

#include <poll.h>
#include <sys/socket.h>

namespace cw::hostile {
namespace {

using test::TestClient;
using wire::FrameType;

constexpr int patience_s = 60, pause_ms = 100;

struct Slow {
    std::string name;
    std::optional<TestClient> client;
    ByteVector drip;     // Sent one byte at a time; empty: silence.
    bool expects_error;  // ERROR(PEER_SLOW) comes first.
    std::size_t dripped = 0;
    std::optional<std::string> outcome{};
};

std::optional<TestClient> connected(const Target& target, std::uint64_t seed, bool tls) {
    auto client =
        TestClient::connect(target.port, tls ? machine_context(target, seed).get() : nullptr);
    if (!client || (tls && !client->handshake())) {
        return std::nullopt;
    }
    return std::move(*client);
}

std::optional<TestClient> in_session(const Target& target, std::uint64_t seed) {
    auto client = open_session(target, seed);
    return client ? std::optional<TestClient>(std::move(*client)) : std::nullopt;
}

std::vector<Slow> make_all(const Target& target) {
    std::vector<Slow> all;
    const auto add = [&](const char* name, std::optional<TestClient> client, ByteVector drip,
                         bool expects_error) {
        all.push_back({name, std::move(client), std::move(drip), expects_error});
    };
    const Bytes head = as_bytes("GET /v1/replication HTTP/1.1\r\nHost: ");
    ByteVector endless(head.begin(), head.end());
    endless.resize(4'000, std::byte{'h'});
    add("silence before the handshake", connected(target, 0, false), {}, false);
    add("silence after the handshake", connected(target, 4001, true), {}, false);
    add("a head that comes byte by byte", connected(target, 4002, true), endless, false);
    add(
        "silence after HELLO was due",
        [&]() -> std::optional<TestClient> {
            auto client = connected(target, 4003, true);
            return client && client->upgrade() ? std::move(client) : std::nullopt;
        }(),
        {}, true);
    if (auto client = in_session(target, 4004)) {
        ByteVector frame = test::write_frame(client->at(1), {{0, 1 * mib, 1}});
        add("a frame's header that comes byte by byte", std::move(client), std::move(frame), true);
    }
    if (auto client = in_session(target, 4005)) {
        (void)client->send(test::resync_begin_frame(client->at(1), wire::ResyncKind::initial));
        ByteVector frame = test::write_frame(client->at(2), {{0, 1 * mib, 1}});
        (void)client->send(Bytes(frame).first(9'000));
        frame.erase(frame.begin(), frame.begin() + 9'000);
        add("a payload that comes byte by byte", std::move(client), std::move(frame), true);
    }
    if (auto client = in_session(target, 4006)) {
        (void)::shutdown(client->fd(), SHUT_WR);
        add("a connection that is half open", std::move(client), {}, false);
    }
    return all;
}

// One step of one case: a byte more, and a look whether the server has had enough.
void advance(Slow& slow) {
    if (!slow.client) {
        slow.outcome = "could not be set up";
        return;
    }
    if (slow.dripped < slow.drip.size()) {
        (void)slow.client->send(Bytes(slow.drip).subspan(slow.dripped++, 1));
    }
    if (!wait_fd(slow.client->fd(), false, 0).value_or(true)) {
        return;
    }
    if (slow.expects_error) {
        const auto frame = slow.client->receive();
        if (frame && frame->header.type != FrameType::error) {
            return;  // What the server tells every agent.
        }
        slow.outcome = !frame ? to_string(frame.error())
                       : frame->as<wire::ErrorMessage>().code == raw(Errc::peer_slow)
                           ? ""
                           : "another error";
    } else {
        slow.outcome = slow.client->wait_closed() ? "" : "not closed";
    }
}

// Asks and never listens: its answers fill the server's side, which then asks nothing of memory.
void never_reads(const Target& target) {
    std::optional<TestClient> client;
    for (int i = 0; i < 60 && !client; ++i) {  // The server may be full of others just now.
        client = in_session(target, 4007);
        (void)::poll(nullptr, 0, client ? 0 : 1000);
    }
    std::string failure = "no session";
    if (client) {
        const int small = 4096;
        (void)::setsockopt(client->fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        ByteVector pings;
        const ByteVector ping =
            test::message_frame(FrameType::ping, client->session(), wire::Ping{1});
        for (int i = 0; i < 1000; ++i) {
            pings.insert(pings.end(), ping.begin(), ping.end());
        }
        failure = "it was heard to the end";
        for (int i = 0; i < 2000; ++i) {  // 96 MB of questions.
            if (!client->send(pings)) {
                failure.clear();  // No longer read, then closed.
                break;
            }
        }
        // A server that has done with it reads on for a moment, and throws it away.
        if (!failure.empty() && client->wait_closed()) {
            failure.clear();
        }
    }
    report("slow: a peer that never reads its answers", failure);
}

}  // namespace

void run_slow_cases(const Target& target) {
    std::vector<Slow> all = make_all(target);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(patience_s);
    bool waiting = true;
    while (waiting && std::chrono::steady_clock::now() < end) {
        waiting = false;
        for (Slow& slow : all) {
            if (!slow.outcome) {
                advance(slow);
                waiting = true;
            }
        }
        (void)::poll(nullptr, 0, pause_ms);
    }
    for (const Slow& slow : all) {
        report("slow: " + slow.name, slow.outcome.value_or("still open after a minute"));
    }
    never_reads(target);
}

}  // namespace cw::hostile
