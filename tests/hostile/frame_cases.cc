// Every field of every frame, out of its range: made from the codec's own table, so that a new type
// or field is attacked from its first day. Whatever the server meets, it says which rule was broken
// and closes; it never allocates for a length it has not checked.
#include "base/checksum.h"
#include "tests/hostile/rig.h"

#include <functional>
#include <set>

namespace cw::hostile {
namespace {

using wire::FrameRule;
using wire::FrameType;

// A header as bytes that the codec would refuse to write.
struct RawHeader {
    std::uint32_t magic = wire::frame_magic;
    std::uint8_t type = 0, flags = 0;
    std::uint16_t slot = 0;
    std::uint32_t payload = 0, table = 0;
    std::uint64_t seq = 0;
    std::uint32_t session = 0, ordinal = 0, table_crc = 0, header_crc_flip = 0;

    [[nodiscard]] ByteVector bytes() const {
        ByteVector out(wire::frame_header_bytes);
        ByteWriter writer(out);
        writer.u32(magic);
        writer.u8(type);
        writer.u8(flags);
        writer.u16(slot);
        writer.u32(payload);
        writer.u32(table);
        writer.u64(seq);
        writer.u32(session);
        writer.u32(ordinal);
        writer.u32(table_crc);
        writer.u32(crc32c(Bytes(out).first(36)) ^ header_crc_flip);
        return out;
    }
};

RawHeader sound_header(const FrameRule& rule, SessionId session) {
    RawHeader header;
    header.type = static_cast<std::uint8_t>(rule.type);
    header.slot = rule.slot == wire::SlotRule::machine ? wire::machine_slot : 0;
    header.payload = header.table = rule.table_min;
    header.seq = rule.seq == wire::SeqRule::positive ? 1 : 0;
    header.session = rule.session ? raw(session) : 0;
    return header;
}

struct Case {
    std::string name;
    std::function<void(RawHeader&)> spoil;
};

// What can be wrong in a header of this type, whatever follows it.
std::vector<Case> header_cases(const FrameRule& rule) {
    constexpr std::uint32_t block = block_bytes;
    std::vector<Case> cases{
        {"wrong magic", [](RawHeader& h) { h.magic ^= 1; }},
        {"wrong header checksum", [](RawHeader& h) { h.header_crc_flip = 0x8000'0000; }},
        {"a flag", [](RawHeader& h) { h.flags = 1; }},
        {"all flags", [](RawHeader& h) { h.flags = 0xff; }},
        {"the other kind of slot",
         [](RawHeader& h) { h.slot = h.slot == wire::machine_slot ? 0 : wire::machine_slot; }},
        {"lengths of 4 GiB", [](RawHeader& h) { h.payload = h.table = 0xffff'ffff; }},
        {"a payload of 4 GiB", [](RawHeader& h) { h.payload = 0xffff'ffff; }},
        {"a table longer than its payload", [](RawHeader& h) { h.table = h.payload + 1; }},
        {"a table one block too long",
         [&rule](RawHeader& h) { h.payload = h.table = rule.table_max + block; }},
        {"data one block too long",
         [&rule](RawHeader& h) { h.payload = h.table + rule.data_max + block; }},
        {"a sequence above 2^62", [](RawHeader& h) { h.seq = (1ULL << 62) + 1; }},
        {"a sequence of 2^64-1", [](RawHeader& h) { h.seq = ~0ULL; }},
    };
    if (rule.table_min > 0) {
        cases.push_back({"no bytes", [](RawHeader& h) { h.payload = h.table = 0; }});
        cases.push_back({"one byte too few", [](RawHeader& h) { h.payload = --h.table; }});
    }
    if (rule.stored) {
        cases.push_back({"lengths between blocks", [](RawHeader& h) { h.payload = ++h.table; }});
    }
    if (rule.data_max > 0) {
        cases.push_back({"data between blocks", [](RawHeader& h) { h.payload += 512; }});
    }
    if (rule.seq == wire::SeqRule::positive) {
        cases.push_back({"sequence zero", [](RawHeader& h) { h.seq = 0; }});
    } else if (rule.seq == wire::SeqRule::zero) {
        cases.push_back({"a sequence where none belongs", [](RawHeader& h) { h.seq = 1; }});
    }
    if (!rule.ordinal) {
        cases.push_back({"an ordinal where none belongs", [](RawHeader& h) { h.ordinal = 1; }});
    }
    return cases;
}

// Sends `bytes` on a new session; "" if the server answered by an ERROR of one of `codes` and
// closed.
class Prober {
public:
    explicit Prober(const Target& target) : target_(target) {}

    std::string probe(const std::function<ByteVector(SessionId)>& make,
                      const std::set<Errc>& codes) {
        auto client = open_session(target_, next_machine());
        if (!client) {
            return "no session: " + to_string(client.error());
        }
        (void)client->send(make(client->session()));  // It may be closed before all is sent.
        for (int i = 0; i < 16; ++i) {
            const auto frame = client->receive();
            if (!frame) {
                return "no ERROR but " + to_string(frame.error());
            }
            if (frame->header.type == FrameType::error) {
                const auto code = static_cast<Errc>(frame->as<wire::ErrorMessage>().code);
                if (!codes.contains(code)) {
                    return "ERROR of " + std::string(name_of(code));
                }
                return client->wait_closed() ? "" : "not closed";
            }
            if (frame->header.type == FrameType::nak) {
                return codes.contains(Errc::payload_corrupt) ? "" : "NAK";
            }
        }
        return "no ERROR";
    }

    // Of one identity only so many connections are taken at once.
    std::uint64_t next_machine() { return 1000 + machine_++ % 24; }

private:
    const Target& target_;
    std::uint64_t machine_ = 0;
};

void probe_headers(Prober& prober, const FrameRule& rule) {
    std::string failure;
    std::size_t count = 0;
    for (const Case& one : header_cases(rule)) {
        const std::string what = prober.probe(
            [&](SessionId session) {
                RawHeader header = sound_header(rule, session);
                one.spoil(header);
                return header.bytes();
            },
            {Errc::frame_malformed});
        ++count;
        if (!what.empty()) {
            failure += (failure.empty() ? "" : "; ") + one.name + ": " + what;
        }
    }
    report("frame: " + std::string(rule.name) + ": " + std::to_string(count) +
               " headers out of range are refused",
           failure);
}

// A sound header with bytes behind it that mean nothing.
void probe_payload(Prober& prober, const FrameRule& rule) {
    if (rule.table_min == 0 || rule.type == FrameType::ping || rule.type == FrameType::pong) {
        return;  // Nothing to be wrong about.
    }
    const auto nonsense = [&](bool sound_checksum) {
        return [&rule, sound_checksum](SessionId session) {
            RawHeader header = sound_header(rule, session);
            const ByteVector payload(header.payload, std::byte{0xff});
            header.table_crc = crc32c(payload) ^ (sound_checksum ? 0U : 1U);
            ByteVector out = header.bytes();
            out.insert(out.end(), payload.begin(), payload.end());
            return out;
        };
    };
    const std::set<Errc> codes{Errc::frame_malformed, Errc::payload_corrupt, Errc::size_mismatch};
    report("frame: " + std::string(rule.name) + ": a payload of nonsense is refused",
           prober.probe(nonsense(true), codes));
    report("frame: " + std::string(rule.name) + ": a payload with a wrong checksum is refused",
           prober.probe(nonsense(false), codes));
}

// Each type as the first frame; the server must not even look at its payload.
void probe_order(const Target& target, Prober& prober, const FrameRule& rule) {
    if (rule.type == FrameType::hello) {
        return;
    }
    const Context context = machine_context(target, prober.next_machine());
    auto client = test::TestClient::connect(target.port, context.get());
    std::string failure = "not connected";
    if (client && client->handshake() && client->upgrade()) {
        RawHeader header = sound_header(rule, SessionId{});
        (void)client->send(header.bytes());
        const auto frame = client->receive();
        const bool right = frame && frame->header.type == FrameType::error &&
                           frame->as<wire::ErrorMessage>().code == raw(Errc::frame_malformed);
        failure = !right ? "no FRAME_MALFORMED" : client->wait_closed() ? "" : "not closed";
    }
    report("frame: " + std::string(rule.name) + " before HELLO is refused", failure);
}

// A frame that ends in the middle: the rest never comes.
void probe_truncated(const Target& target, Prober& prober, const FrameRule& rule) {
    auto client = open_session(target, prober.next_machine());
    std::string failure = "no session";
    if (client) {
        RawHeader header = sound_header(rule, client->session());
        header.payload += rule.data_max;
        ByteVector bytes = header.bytes();
        bytes.resize(std::min<std::size_t>(bytes.size() + header.payload, 5'000) - 1);
        (void)client->send(bytes);
        (void)SSL_shutdown(client->ssl());
        failure = client->wait_closed() ? "" : "still open";
    }
    report("frame: " + std::string(rule.name) + " cut short is forgotten", failure);
}

}  // namespace

void run_frame_cases(const Target& target) {
    Prober prober(target);
    for (const FrameRule& rule : wire::frame_rules()) {
        probe_headers(prober, rule);
        probe_payload(prober, rule);
        probe_order(target, prober, rule);
        probe_truncated(target, prober, rule);
    }
    for (const unsigned type : {0U, 23U, 64U, 127U, 128U, 255U}) {
        report("frame: the unknown type " + std::to_string(type) + " is refused",
               prober.probe(
                   [&](SessionId session) {
                       RawHeader header = sound_header(wire::frame_rules()[18], session);
                       header.type = static_cast<std::uint8_t>(type);
                       return header.bytes();
                   },
                   {Errc::frame_malformed}));
    }
    report("frame: a slot that HELLO did not list is refused",
           prober.probe(
               [](SessionId session) {
                   return test::write_frame({.session = session, .slot = 7, .seq = Seq{1}}, {{}});
               },
               {Errc::frame_malformed}));
    report("frame: zeros instead of a frame are refused",
           prober.probe([](SessionId) { return ByteVector(4096); }, {Errc::frame_malformed}));
}

}  // namespace cw::hostile
