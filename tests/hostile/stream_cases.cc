// Peers that are enrolled and speak the protocol, and lie: other machines' disks, replayed
// sessions, other content, points that do not hold, more than their credit.
#include "tests/hostile/rig.h"

#include <functional>

namespace cw::hostile {
namespace {

using test::TestClient;
using wire::FrameType;

void expect_refused_hello(const Target& target, const std::string& name, std::uint64_t seed,
                          const wire::Hello& hello, Errc wanted) {
    auto client = upgraded(target, seed);
    if (!client) {
        report(name, to_string(client.error()));
        return;
    }
    const auto welcome = client->hello(hello);
    const bool right = !welcome && welcome.error().code == wanted;
    report(name, right ? "" : welcome ? "it was welcomed" : to_string(welcome.error()));
}

void other_machines_disk(const Target& target) {
    wire::Hello hello = hello_of(2000);
    const auto victim = parse_id<DiskId>(target.victim_disk);
    CW_ASSERT(victim.has_value());
    hello.disks[0].id = *victim;
    expect_refused_hello(target, "stream: another machine's disk", 2000, hello, Errc::authz_denied);
    hello.disks.push_back(hello_of(2001).disks[0]);
    expect_refused_hello(target, "stream: another machine's disk among one's own", 2001, hello,
                         Errc::authz_denied);
    const auto own = open_session(target, 2000);
    report("stream: one's own disk after another machine's", own ? "" : to_string(own.error()));
}

void strange_hellos(const Target& target) {
    wire::Hello hello = hello_of(2002);
    hello.version_min = hello.version_max = 2;
    expect_refused_hello(target, "stream: a version of the future", 2002, hello,
                         Errc::version_unsupported);
    hello = hello_of(2002);
    hello.features = 1ULL << 63;
    expect_refused_hello(target, "stream: an unknown critical feature", 2002, hello,
                         Errc::version_unsupported);
    hello = hello_of(2002);
    hello.joins = SessionId{12345};
    hello.disks.clear();
    expect_refused_hello(target, "stream: joining a session of another", 2002, hello,
                         Errc::server_busy);
}

// Frames recorded in one session, sent in the next: dropped, and credited again.
void replay(const Target& target) {
    auto first = open_session(target, 2010);
    if (!first) {
        report("stream: replayed frames", to_string(first.error()));
        return;
    }
    const SessionId old = first->session();
    const ByteVector begin =
        test::resync_begin_frame({.session = old, .seq = Seq{1}}, wire::ResyncKind::initial);
    const ByteVector recorded = test::write_frame({.session = old, .seq = Seq{2}}, {{0, 4096, 1}});
    auto second = open_session(target, 2010);
    if (!second) {
        report("stream: replayed frames", to_string(second.error()));
        return;
    }
    (void)second->send(begin);
    for (int i = 0; i < 50; ++i) {
        (void)second->send(recorded);
    }
    (void)second->send(test::message_frame(FrameType::ping, second->session(), wire::Ping{4711}));
    std::string failure = "no PONG";
    for (int i = 0; i < 100; ++i) {
        const auto frame = second->receive();
        if (!frame) {
            failure = to_string(frame.error());
            break;
        }
        if (frame->header.type == FrameType::pong) {
            failure.clear();
            break;
        }
        if (frame->header.type == FrameType::ack && !frame->as<wire::Ack>().disks.empty() &&
            raw(frame->as<wire::Ack>().disks[0].received) != 0) {
            failure = "something was taken";
            break;
        }
    }
    report("stream: replayed frames of an older session are dropped", failure);
    const std::string told = error_of(first);
    report("stream: the older session is told that it is stale",
           told == "STALE_SESSION" ? "" : told);
}

// The recorded HELLO again, by another enrolled machine: its certificate decides. It is refused
// once the server knows whose disk that is; before, there is nothing yet that it could be given.
void replayed_session(const Target& target) {
    auto thief = upgraded(target, 2011);
    std::string failure = "not connected";
    if (thief) {
        const auto welcome = thief->hello(hello_of(2010));
        if (welcome) {
            failure =
                raw(welcome->disks.at(0).durable) == 0 ? "" : "it was given another's history";
        } else {
            failure = welcome.error().code == Errc::authz_denied ? "" : to_string(welcome.error());
        }
    }
    report("stream: a session replayed by another machine", failure);
}

void other_content(const Target& target) {
    auto client = open_session(target, 2020);
    if (!client) {
        report("stream: other content", to_string(client.error()));
        return;
    }
    (void)client->send(test::resync_begin_frame(client->at(1), wire::ResyncKind::initial));
    (void)client->send(test::write_frame(client->at(2), {{0, 4096, 1}}));
    (void)client->send(test::write_frame(client->at(2), {{0, 4096, 2}}));
    const auto nak = client->receive(FrameType::nak);
    report("stream: other content under the same sequence (SEQ_CONFLICT)",
           !nak                                                       ? to_string(nak.error())
           : nak->as<wire::Nak>().reason == wire::NakReason::conflict ? ""
                                                                      : "NAK for another reason");
}

void order(const Target& target) {
    const struct {
        const char* name;
        std::function<ByteVector(const TestClient&)> frame;
        const char* wanted;  // Of the ERROR; "NAK" or "POINT_STATUS" where the session goes on.
    } cases[] = {
        {"a gap in the sequence",
         [](const TestClient& c) {
             ByteVector out = test::resync_begin_frame(c.at(1), wire::ResyncKind::initial);
             const ByteVector next = test::write_frame(c.at(9), {{}});
             out.insert(out.end(), next.begin(), next.end());
             return out;
         },
         "NAK"},
        {"data before its fence",
         [](const TestClient& c) { return test::write_frame(c.at(1), {{}}); }, "NAK"},
        {"BASE of a fence that was never opened",
         [](const TestClient& c) { return test::base_frame(c.at(1), {{}}); }, "NAK"},
        {"the end of a fence that was never opened",
         [](const TestClient& c) { return test::empty_frame(FrameType::resync_end, c.at(1)); },
         "NAK"},
        {"a flush of what never came",
         [](const TestClient& c) { return test::empty_frame(FrameType::flush, c.at(99)); },
         "FRAME_MALFORMED"},
        {"a farewell at a sequence that never came",
         [](const TestClient& c) {
             return test::message_frame(FrameType::goodbye, c.session(),
                                        wire::Goodbye{.disks = {{0, Seq{99}}}});
         },
         "FRAME_MALFORMED"},
        {"a point that cuts what never came",
         [](const TestClient& c) {
             return test::point_frame(c.session(), test::plain_point(1, {99}));
         },
         "POINT_STATUS"},
        {"extents beyond the end of the disk",
         [](const TestClient& c) {
             return test::message_frame(FrameType::extents, c.session(),
                                        wire::Extents{{{test::test_disk_bytes, 512}}}, 0);
         },
         "SIZE_MISMATCH"},
        {"a second HELLO",
         [](const TestClient&) {
             return test::message_frame(FrameType::hello, SessionId{}, hello_of(2030));
         },
         "FRAME_MALFORMED"},
    };
    for (const auto& one : cases) {
        auto client = open_session(target, 2030);
        std::string failure = "no session";
        if (client && client->send(one.frame(*client))) {
            const std::string_view wanted = one.wanted;
            const auto type = wanted == "NAK"            ? FrameType::nak
                              : wanted == "POINT_STATUS" ? FrameType::point_status
                                                         : FrameType::error;
            if (type == FrameType::error) {
                failure = error_of(client);
                failure = failure == wanted ? "" : failure;
            } else {
                const auto frame = client->receive(type);
                failure = frame ? "" : to_string(frame.error());
            }
        }
        report("stream: " + std::string(one.name), failure);
    }
}

// Payload that nobody permitted: the header alone ends the session, before a byte of it is kept.
// On a busy machine the server may keep up with us: then nothing was beyond it, and we try again.
void beyond_credit(const Target& target) {
    std::string failure = "no session";
    for (int attempt = 0; attempt < 8 && !failure.empty(); ++attempt) {
        auto client = open_session(target, 2040);
        if (!client) {
            continue;
        }
        (void)client->send(test::resync_begin_frame(client->at(1), wire::ResyncKind::initial));
        // Faster than anything becomes durable, and never looking at CREDIT.
        for (std::uint64_t seq = 2; seq < 400; ++seq) {
            if (!client->send(test::write_frame(client->at(seq), {{0, 8 * mib, 1}}))) {
                break;
            }
            if (wait_fd(client->fd(), false, 0).value_or(false)) {
                const auto answer = client->receive();
                if (!answer || answer->header.type == FrameType::error) {
                    break;
                }
            }
        }
        failure = client->wait_closed() ? "" : "never stopped";
    }
    report("stream: more than the credit ends the session", failure);
}

}  // namespace

void run_stream_cases(const Target& target) {
    other_machines_disk(target);
    strange_hellos(target);
    replay(target);
    replayed_session(target);
    other_content(target);
    order(target);
    beyond_credit(target);
}

}  // namespace cw::hostile
