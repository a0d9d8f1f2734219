// What a coordinator or member of a group is sent, after its TLS: any bytes. What is taken can be
// said again, and a member in any state survives it and holds nobody afterwards.
#include "agent/group/group_member.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace {

using namespace cw;
using namespace cw::agent;

class OneMachine final : public GroupSource {
public:
    Result<PointId> hold(const GroupId& barrier, const std::string& tag, Nanos) override {
        CW_ASSERT(!held && tag.size() <= barrier_text_bytes_max);
        held = true;
        ++open;
        return PointId{barrier.bytes};
    }
    bool let_go() override { return std::exchange(held, false); }
    void decide(const PointId&, const GroupId&, bool) override { --open; }
    bool held = false;
    int open = 0;  // Points without an outcome.
};

void check_again(const BarrierMessage& message, Bytes source) {
    const ByteVector again = encode_barrier(message);
    CW_ASSERT(std::ranges::equal(again, source) && name_of(message.type) != "?");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes in{reinterpret_cast<const std::byte*>(data), size};
    ManualClock clock;
    OneMachine machine;
    GroupMember member(machine, clock, 300 * ns_per_ms);
    for (int count = 0; count < 64; ++count) {
        const auto decoded = decode_barrier(in);
        if (!decoded || !*decoded) {
            break;
        }
        const DecodedBarrier& one = **decoded;
        CW_ASSERT(one.used <= in.size());
        check_again(one.message, in.first(one.used));
        in = in.subspan(one.used);
        (void)member.take(one.message.hold_ms % 2, one.message);
        CW_ASSERT(machine.open == (member.idle() ? 0 : 1) &&
                  (machine.held ? 1 : 0) <= machine.open);
        clock.advance(one.message.hold_ms % 7 * 100 * ns_per_ms);
    }
    clock.advance(GroupMember::verdict_ns);
    member.step();
    CW_ASSERT(member.idle() && !machine.held && machine.open == 0);
    return 0;
}
