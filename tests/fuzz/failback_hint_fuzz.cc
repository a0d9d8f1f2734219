// Hints of a failback: our own file, lines of ranges, or another program's JSON. What is accepted
// is printed and read alike; the blocks it names are those of its ranges.
#include "appliance/operator/failback_hint.h"
#include "base/assert.h"
#include "base/random.h"

#include <algorithm>
#include <bit>
#include <optional>

namespace {

using namespace cw;
using namespace cw::appliance;
using recovery::ByteRange;
using recovery::FailbackHint;

constexpr std::uint64_t disk_bytes_max = 1 * gib;

bool same(const std::vector<ByteRange>& a, const std::vector<ByteRange>& b) {
    return std::ranges::equal(a, b, [](const ByteRange& x, const ByteRange& y) {
        return x.offset == y.offset && x.length == y.length;
    });
}

void check_origin(const HintOrigin& origin, const std::vector<ByteRange>& ranges) {
    const std::string text = print_hint(origin, ranges);
    const auto again = parse_failback_hint(text, "again");
    CW_ASSERT(again && again->origin && same(again->ranges, ranges));
    CW_ASSERT(print_hint(*again->origin, again->ranges) == text);

    HintUse use;
    use.machine = origin.machine;
    use.disk = origin.disk;
    use.size_bytes = origin.size_bytes + 1;
    CW_ASSERT(!judge_hint(origin, use));
    use.size_bytes = origin.size_bytes;
    use.point = origin.since_mark;
    use.target_trusted = true;
    const auto gone = judge_hint(origin, use);
    CW_ASSERT(gone && gone->has_value());  // Its point is no longer there.
    use.since_is_there = true;
    const bool early = origin.since_mark <= origin.until;
    const auto trusted = judge_hint(origin, use);
    CW_ASSERT(trusted && trusted->has_value() != early);
    use.target_trusted = false;
    const auto unknown = judge_hint(origin, use);
    CW_ASSERT(unknown && unknown->has_value());
    // No clock is believed: without the word of somebody who knows, everything is compared.
    constexpr std::int64_t second_us = 1'000'000;
    const std::int64_t time = raw(origin.since_time);
    if (time < INT64_MIN + 9 * second_us || time > INT64_MAX - 9 * second_us) {
        return;
    }
    for (const std::int64_t written : {-4, -2, 2}) {
        use.target_written = WallMicros{time + written * second_us};
        for (const std::optional<WallMicros> earlier :
             {std::optional<WallMicros>(), std::optional(WallMicros{time - 3 * second_us})}) {
            use.earlier_point = earlier;
            const auto told = judge_hint(origin, use);
            CW_ASSERT(told && told->has_value());
        }
    }
}

void check_blocks(const std::vector<ByteRange>& ranges, std::uint64_t disk_bytes) {
    const auto random = make_seeded_random(1);
    const auto hint = FailbackHint::create(ranges, disk_bytes, *random);
    const bool inside = std::ranges::all_of(ranges, [&](const ByteRange& range) {
        return range.length > 0 && range.offset < disk_bytes &&
               range.length <= disk_bytes - range.offset;
    });
    CW_ASSERT(hint.has_value() == inside);
    if (!hint) {
        return;
    }
    bool any = false;
    for (std::uint32_t i = 0; std::uint64_t{i} * pipeline::super_chunk_bytes < disk_bytes; ++i) {
        const FailbackHint::Mask all = recovery::blocks_of_super(i, disk_bytes);
        const FailbackHint::Mask named = hint->named(i), sample = hint->sample(i);
        CW_ASSERT((named & ~all) == 0 && (sample & named) == 0 && (sample & ~all) == 0);
        CW_ASSERT(std::popcount(sample) == (named == all ? 0 : 1));
        any = any || named != 0;
    }
    CW_ASSERT(any == !ranges.empty());
    for (const ByteRange& range : ranges) {
        const std::uint64_t block = range.offset / recovery::digest_block_bytes;
        const auto mask = hint->named(static_cast<std::uint32_t>(block / 64));
        CW_ASSERT((mask >> (block % 64) & 1) != 0);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = as_text({reinterpret_cast<const std::byte*>(data), size});
    const auto file = parse_failback_hint(text, "fuzz");
    if (!file) {
        CW_ASSERT(!file.error().detail.empty());
        return 0;
    }
    std::uint64_t disk_bytes = 64 * mib + sector_bytes;
    if (file->origin) {
        check_origin(*file->origin, file->ranges);
        disk_bytes = std::clamp<std::uint64_t>(file->origin->size_bytes, 1, disk_bytes_max);
    }
    check_blocks(file->ranges, disk_bytes);
    return 0;
}
