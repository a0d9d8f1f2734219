// Names and texts that are weapons, in every place of the protocol where one can go: what comes of
// them in what the server shows is looked at by tests/e2e/names.sh.
#include "base/log.h"
#include "ingest/wire/messages.h"
#include "tests/hostile/rig.h"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace cw::hostile {
namespace {

using namespace std::string_literals;
using test::TestClient;
using wire::FrameType;

const std::string weapons[] = {
    "../../../../etc/passwd",
    "/etc/shadow",
    "a\0b"s,
    "..",
    "x\r\n2026-01-01T00:00:00.000Z error forged=yes",
    "%2e%2e%2f",
    "\xe2\x80\xaegnp.exe",
    "\xe2\x81\xa7isolated\xd8\x9c\xe2\x80\xa8line\xc2\x85next",
    "\x1b]0;owned\x07",
    "$(touch /tmp/owned)",
    "'; drop --",
    "\xff\xfe\xc0\x80",
    std::string(256, 'n'),
    "{\"json\":",
    "a/b\\c:d*?",
    "\"\n}",
    "<script>alert(1)</script>",
};

Result<void> send_text(TestClient& client, FrameType type, Bytes payload, std::uint16_t slot) {
    return client.send(wire::encode_control_frame(
        {.type = type, .disk_slot = slot, .session = client.session()}, payload));
}

// RESYNC_BEGIN with a reason and its end: the disk is protected then, and may have points.
void protect(TestClient& client, const std::string& reason) {
    (void)client.send(wire::encode_control_frame(
        {.type = FrameType::resync_begin,
         .disk_slot = 0,
         .seq = Seq{1},
         .session = client.session()},
        wire::encode(wire::ResyncBegin{wire::ResyncKind::initial, reason})));
    constexpr std::uint32_t chunks = test::test_disk_bytes / wire::super_chunk_bytes;
    for (std::uint32_t ordinal = 0; ordinal < chunks; ++ordinal) {
        (void)client.send(test::base_frame(
            {.session = client.session(), .slot = 0, .seq = Seq{1}, .ordinal = ordinal},
            {{.offset = std::uint64_t{ordinal} * wire::super_chunk_bytes,
              .length = wire::super_chunk_bytes,
              .op = pipeline::ExtentOp::zero}}));
    }
    (void)client.send(test::empty_frame(
        FrameType::resync_end,
        {.session = client.session(), .slot = 0, .seq = Seq{2}, .ordinal = chunks}));
}

pipeline::Point point_of(std::uint64_t machine, const std::string& text) {
    pipeline::Point point = test::plain_point(1, {2});
    point.id = test::id_of<PointId>(static_cast<std::uint8_t>(machine));
    point.cuts[0].disk = hello_of(machine).disks[0].id;
    point.source_time = make_system_clock()->wall();
    point.tag = point.hook_results = text;
    return point;
}

// A server under load asks for its credit back, or ends a session: an agent comes again.
bool ended_by_server(const std::string& wrong) {
    return wrong.contains(test::server_said_goodbye) ||
           wrong.contains(name_of(Errc::stale_session));
}

// Every text that an agent may say, in one session. Empty, or what went wrong.
// `hooks`: what its hooks said, if that is another text.
std::string say_everywhere(const Target& target, std::uint64_t machine, const std::string& text,
                           const std::optional<std::string>& hooks = std::nullopt) {
    wire::Hello hello = hello_of(machine);
    hello.machine_name = hello.software = hello.disks[0].name = text;
    auto client = upgraded(target, machine);
    if (!client) {
        return to_string(client.error());
    }
    if (const auto welcome = client->hello(hello); !welcome) {
        return to_string(welcome.error());
    }
    (void)send_text(*client, FrameType::mode,
                    wire::encode(wire::Mode{wire::ReplicationMode::bitmap, 1, text}),
                    wire::machine_slot);
    (void)send_text(*client, FrameType::resync_required,
                    wire::encode(wire::ResyncRequired{1, text}), 0);
    protect(*client, text);
    pipeline::Point point = point_of(machine, text);
    point.hook_results = hooks.value_or(text);
    (void)client->send(test::point_frame(client->session(), point));
    const auto status = client->receive(FrameType::point_status);
    if (!status) {
        return "no POINT_STATUS: " + to_string(status.error());
    }
    if (status->as<wire::PointStatus>().state == wire::PointState::dropped) {
        return "the point was dropped: " + status->as<wire::PointStatus>().reason;
    }
    // ERROR ends the session.
    (void)send_text(*client, FrameType::error, wire::encode(wire::ErrorMessage{9999, text}),
                    wire::machine_slot);
    return client->wait_closed() ? "" : "an ERROR does not end the session";
}

// The codec would refuse to write a text that is too long, so it is patched in: the run of n's
// becomes longer, and the length before it says so.
ByteVector with_long_text(ByteVector payload, std::size_t long_bytes = 10'000) {
    constexpr auto n = std::byte{'n'};
    const auto from = std::ranges::search_n(payload, 200, n).begin();
    const auto until = std::find_if(from, payload.end(), [](std::byte b) { return b != n; });
    CW_ASSERT(from != until && from - payload.begin() >= 2);
    *(from - 2) = static_cast<std::byte>(long_bytes & 0xff);
    *(from - 1) = static_cast<std::byte>(long_bytes >> 8);
    const auto more = long_bytes - static_cast<std::size_t>(until - from);
    payload.insert(until, more, n);
    return payload;
}

void too_long(const Target& target) {
    const std::string text(200, 'n');
    wire::Hello software = hello_of(3999), machine = hello_of(3999), disk = hello_of(3999);
    software.software = machine.machine_name = disk.disks[0].name = text;
    const std::pair<const char*, wire::Hello> hellos[] = {{"the software's name", software},
                                                          {"the machine's name", machine},
                                                          {"a disk's name", disk}};
    for (const auto& [what, hello] : hellos) {
        auto client = upgraded(target, 3999);
        std::string failure = "not connected";
        if (client && client->send(wire::encode_control_frame({.type = FrameType::hello},
                                                              with_long_text(encode(hello))))) {
            failure = error_of(client);
            failure = failure == "FRAME_MALFORMED" ? "" : failure;
        }
        report("name: 10 kB are refused in " + std::string(what), failure);
    }
    // As much as a frame of these types may carry at all; a reason has half of it.
    constexpr std::size_t frame_bytes = 1000;
    const struct {
        const char* what;
        FrameType type;
        ByteVector payload;
        std::uint16_t slot;
        std::uint64_t seq;
    } texts[] = {
        {"MODE", FrameType::mode, encode(wire::Mode{wire::ReplicationMode::bitmap, 1, text}),
         wire::machine_slot, 0},
        {"RESYNC_REQUIRED", FrameType::resync_required, encode(wire::ResyncRequired{1, text}), 0,
         0},
        {"RESYNC_BEGIN", FrameType::resync_begin,
         encode(wire::ResyncBegin{wire::ResyncKind::initial, text}), 0, 1},
        {"ERROR", FrameType::error, encode(wire::ErrorMessage{9999, text}), wire::machine_slot, 0},
    };
    for (const auto& one : texts) {
        auto client = open_session(target, 3998);
        std::string failure = "no session";
        if (client &&
            client->send(wire::encode_control_frame({.type = one.type,
                                                     .disk_slot = one.slot,
                                                     .seq = Seq{one.seq},
                                                     .session = client->session()},
                                                    with_long_text(one.payload, frame_bytes)))) {
            failure = error_of(client);
            failure = failure == "FRAME_MALFORMED" ? "" : failure;
        }
        report("name: a text too long is refused in " + std::string(one.what), failure);
    }
    // What hooks said may be 16 KiB long: 10 kB of it are data, 20 are refused.
    std::string wrong = say_everywhere(target, 3994, "a point", std::string(10'000, 'n'));
    for (int i = 0; i < 10 && ended_by_server(wrong); ++i) {
        wrong = say_everywhere(target, 3980 + static_cast<std::uint64_t>(i), "a point",
                               std::string(10'000, 'n'));
    }
    report("name: 10 kB are data in the hooks' results of a POINT", wrong);
    pipeline::Point tag = point_of(3997, text), hooks = tag;
    tag.hook_results.clear();
    hooks.tag.clear();
    for (const auto& [what, point, bytes] :
         {std::tuple{"10 kB are refused in the tag", tag, std::size_t{10'000}},
          std::tuple{"20 kB are refused in the hooks' results", hooks, std::size_t{20'000}}}) {
        auto client = open_session(target, 3997);
        std::string failure = "no session";
        if (client &&
            client->send(test::point_frame_of(
                client->session(), with_long_text(pipeline::encode_point(point), bytes)))) {
            failure = error_of(client);
            failure = failure == "FRAME_MALFORMED" ? "" : failure;
        }
        report("name: " + std::string(what) + " of a POINT", failure);
    }
}

// The name that a certificate gives its machine, which no authority of ours would sign.
void common_names(const Target& target) {
    std::vector<std::string> names(std::begin(weapons), std::end(weapons));
    names.emplace_back(10'000, 'n');
    std::uint64_t machine = 3900;
    for (const std::string& name : names) {
        ++machine;
        const auto shaken = [&](std::int64_t until_s) -> Result<void> {
            const Context context = forged_context(
                target,
                {.names = name_of_machine(machine), .common_name = name, .until_s = until_s});
            CW_TRY_ASSIGN(auto client, TestClient::connect(target.port, context.get()));
            CW_TRY(client.handshake());
            CW_TRY(client.upgrade());
            CW_TRY(client.hello(hello_of(machine)));
            return {};
        };
        const auto good = shaken(3600), expired = shaken(-1);
        report("name: " + escape_for_display(name, 40) + " is data in a certificate's common name",
               !good ? to_string(good.error()) : "");
        report("name: " + escape_for_display(name, 40) + " in an expired one opens nothing",
               expired ? "it was let in" : "");
    }
}

void paths(const Target& target) {
    const Context context = machine_context(target, 3996);
    const std::string paths[] = {
        "/v1/../../etc/passwd",
        "/%2e%2e/",
        "/v1/replication/..",
        "/" + std::string(7'000, 'a'),
        "/\xe2\x80\xae",
        "/a\0b"s,
        "/a\rb",
        "http://elsewhere/",
        "*",
    };
    for (const std::string& path : paths) {
        auto browser = TestClient::connect(target.port, context.get());
        std::string wrong = "not connected";
        if (browser && browser->handshake()) {
            const auto response = browser->request("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n");
            wrong = !response ? to_string(response.error())
                    : response->status == 404 || response->status == 400
                        ? ""
                        : std::to_string(response->status);
        }
        report("name: the path " + escape_for_display(path, 40) + " leads nowhere", wrong);
    }
}

}  // namespace

void run_name_cases(const Target& target) {
    std::uint64_t machine = 3000;
    for (const std::string& text : weapons) {
        std::string wrong = say_everywhere(target, machine++, text);
        // Who idles while the store is slow may be asked to give its credit back: it comes again.
        for (int i = 0; i < 10 && ended_by_server(wrong); ++i) {
            wrong = say_everywhere(target, machine++, text);
        }
        report("name: " + escape_for_display(text, 40) + " is data wherever an agent may say it",
               wrong);
    }
    too_long(target);
    common_names(target);
    paths(target);
}

}  // namespace cw::hostile
