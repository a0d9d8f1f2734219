#include "agent/seed_survey.h"

#include "agent/server_session.h"

#include <algorithm>

#include <poll.h>

namespace cw::agent {
namespace {

constexpr std::int64_t answer_limit_ns = 60 * ns_per_s;
constexpr int look_ms = 1000;
constexpr std::uint64_t ping_token = 0x73656564;

Result<std::unique_ptr<Link>> connect(const TlsTarget& target) {
    Result<std::unique_ptr<Link>> link = fail(Errc::unreachable);
    for (std::size_t server = 0; server < target.servers.size() && !link; ++server) {
        link = connect_tls(target, server);
    }
    return link;
}

Error said_by(const wire::ErrorMessage& message) {
    return {errc_from_number(message.code).value_or(Errc::connection_lost),
            "the server says: " + message.detail};
}

// One frame. True: it was the last one that matters.
Result<bool> take(const InFrame& frame, ServerSession& session, SeedSurvey& out) {
    switch (frame.header.type) {
        case wire::FrameType::error: {
            CW_TRY_ASSIGN(const auto message, wire::decode<wire::ErrorMessage>(frame.payload));
            return std::unexpected(said_by(message));
        }
        case wire::FrameType::welcome: {
            CW_TRY_ASSIGN(const auto welcome, wire::decode<wire::Welcome>(frame.payload));
            if (welcome.disks.size() != 1) {
                return fail(Errc::frame_malformed, "WELCOME answers another number of disks");
            }
            session.welcomed(welcome.session, 0);
            out.action = welcome.disks.front().action;
            out.reason = welcome.disks.front().reason;
            // Points are told before any other frame, so also before the answer to this.
            CW_TRY(session.send(wire::FrameType::ping, wire::machine_slot, Seq{},
                                wire::encode(wire::Ping{ping_token})));
            return false;
        }
        case wire::FrameType::point_status: {
            CW_TRY_ASSIGN(const auto status, wire::decode<wire::PointStatus>(frame.payload));
            if (status.state != wire::PointState::dropped) {
                out.points.push_back(status.id);
            }
            return false;
        }
        case wire::FrameType::ping:
            CW_TRY(session.send(wire::FrameType::pong, wire::machine_slot, Seq{}, frame.payload));
            return false;
        default:
            return frame.header.type == wire::FrameType::pong;
    }
}

}  // namespace

Result<SeedSurvey> survey_server(const TlsTarget& target, const wire::Hello& hello, Clock& clock) {
    CW_ASSERT(hello.disks.size() == 1);
    CW_TRY_ASSIGN(auto link, connect(target));
    ServerSession session(std::move(link), clock);
    CW_TRY(session.send(wire::FrameType::hello, wire::machine_slot, Seq{}, wire::encode(hello)));
    const Nanos deadline = clock.boot() + answer_limit_ns;
    SeedSurvey out;
    while (deadline - clock.boot() > 0) {
        CW_TRY(session.flush());
        CW_TRY_ASSIGN(const auto frame, session.next());
        if (!frame) {
            const int events = POLLIN | (session.link().wants_write() ? POLLOUT : 0);
            pollfd waiting{session.link().fd(), static_cast<short>(events), 0};
            ::poll(&waiting, 1, look_ms);
            continue;
        }
        CW_TRY_ASSIGN(const bool last, take(*frame, session, out));
        if (last) {
            return out;
        }
    }
    return fail(Errc::connection_lost, session.link().peer() + " does not answer");
}

}  // namespace cw::agent
