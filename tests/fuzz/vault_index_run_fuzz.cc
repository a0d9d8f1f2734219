// Index runs. The first byte chooses: the rest is an object, or the entries of one as a holder of
// the machine's key might have sealed them. Whatever is accepted is sealed again alike, and a chain
// that stands on it either refuses it or plans a checkpoint which says the same.
#include "base/assert.h"
#include "base/random.h"
#include "egress/vault/index_run.h"
#include "egress/vault/manifest_body.h"

#include <algorithm>

namespace {

using namespace cw;
using namespace cw::vault;

constexpr std::uint32_t run_id = 7;
constexpr std::size_t segment_entry_bytes = 197;

MachineKeys fixed_keys() {
    MachineKeys keys;
    keys.machine_key = Secret<Key256>(Key256{});
    return keys;
}

std::uint32_t number_at(Bytes bytes, std::size_t at) {
    std::uint32_t value = 0;
    if (at <= bytes.size() && bytes.size() - at >= sizeof value) {
        std::memcpy(&value, &bytes[at], sizeof value);
    }
    return value;
}

IndexRunRef ref_of(Bytes object, std::uint32_t segments, std::uint32_t points) {
    IndexRunRef ref;
    ref.id = run_id;
    ref.epoch = Epoch{1};
    ref.segments = segments;
    ref.points = points;
    ref.object_bytes = object.size();
    ref.hash = sha256(object);
    return ref;
}

// As FORMAT.md lays an index run out, around any body.
ByteVector sealed_object(Bytes body, const MachineKeys& keys) {
    ByteVector object;
    ByteAppender out(object);
    out.u32(0x52495743);
    out.u16(1);
    out.u16(0);
    out.bytes(keys.machine.bytes);
    out.u32(run_id);
    out.u32(static_cast<std::uint32_t>(body.size()));
    const std::array<std::byte, 32> salt{};
    out.bytes(salt);
    const ByteVector header = object;
    out.zeros(body.size());
    const Key256 key = hkdf_sha256(keys.machine_key.reveal(), salt, as_bytes("index run"));
    out.bytes(AesGcm(key).seal(GcmNonce{}, header, body,
                               MutableBytes(object).subspan(header.size(), body.size())));
    return object;
}

// The entries as a manifest would carry them: comparable.
ByteVector entries_of(const IndexRun& run) {
    Manifest manifest;
    manifest.added = run.segments;
    manifest.points = run.points;
    return encode_manifest_body(manifest);
}

void check_again(const IndexRun& run, const MachineKeys& keys, Random& random) {
    const SealedRun again = seal_index_run(run, ref_of({}, 0, 0), keys, random);
    const auto opened = open_index_run(again.bytes, again.ref, keys);
    CW_ASSERT(opened && entries_of(*opened) == entries_of(run));
}

// The checkpoint that stands on runs, as bytes and back. Runs may name manifests that are yet to
// come, which no manifest's own points can.
void check_body(const Manifest& manifest) {
    if (std::ranges::any_of(manifest.points, [&](const PointEntry& point) {
            return point.manifest > manifest.number;
        })) {
        return;
    }
    const ByteVector body = encode_manifest_body(manifest);
    Manifest again;
    again.number = manifest.number;
    again.epoch = manifest.epoch;
    again.kind = manifest.kind;
    CW_ASSERT(decode_manifest_body(body, 2, again).has_value());
    CW_ASSERT(again.runs.size() == manifest.runs.size() && encode_manifest_body(again) == body);
}

void check_chain(const IndexRun& run, const IndexRunRef& ref, const MachineKeys& keys,
                 Random& random) {
    Manifest manifest;
    manifest.number = manifest.checkpoint = 1'000;
    manifest.epoch = Epoch{1};
    manifest.kind = ManifestKind::checkpoint;
    manifest.run_counter = ref.id;
    manifest.runs = {ref};
    // And as much that no run holds yet.
    for (SegmentRef segment : run.segments) {
        segment.name.attempt[0] ^= std::byte{0xff};
        manifest.added.push_back(segment);
    }
    for (PointEntry point : run.points) {
        point.id.bytes[0] ^= std::byte{0xff};
        manifest.points.push_back(point);
    }
    auto state = begin_chain(manifest, {}, [&](std::size_t) -> Result<IndexRun> { return run; });
    if (!state) {
        return;
    }
    CheckpointPlan plan = plan_checkpoint(
        *state, {.inline_bytes = 0, .run_bytes = 5 * segment_entry_bytes, .runs_max = 2});
    std::uint32_t id = plan.manifest.run_counter - static_cast<std::uint32_t>(plan.fresh.size());
    for (const IndexRun& fresh : plan.fresh) {
        IndexRunRef next = ref_of({}, 0, 0);
        next.id = ++id;
        plan.manifest.runs.push_back(seal_index_run(fresh, next, keys, random).ref);
    }
    check_body(plan.manifest);
    const auto segments = state->segments.size(), points = state->points.size();
    const auto applied = apply_manifest(*state, plan.manifest, {}, plan.fresh);
    CW_ASSERT(applied.has_value());
    CW_ASSERT(state->segments.size() == segments && state->points.size() == points);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteReader in({reinterpret_cast<const std::byte*>(data), size}, Errc::usage);
    const auto kind = in.u8();
    if (!kind) {
        return 0;
    }
    const MachineKeys keys = fixed_keys();
    const auto random = make_seeded_random(1);
    const auto dead = in.u8();
    const Bytes rest = *in.take(in.remaining());
    if (*kind % 2 == 0 || !dead) {
        CW_ASSERT(!open_index_run(rest, {}, keys));  // Nothing has a hash of zeros.
        static_cast<void>(open_index_run(rest, ref_of(rest, 1, 1), keys));
        return 0;
    }
    const ByteVector object = sealed_object(rest, keys);
    const std::uint32_t segments = number_at(rest, 0);
    const std::uint32_t points =
        number_at(rest, sizeof segments + std::size_t{segments} * segment_entry_bytes);
    IndexRunRef ref = ref_of(object, segments, points);
    const auto run = open_index_run(object, ref, keys);
    if (!run || run->size() == 0) {
        return 0;
    }
    CW_ASSERT(is_index_run(index_run_name(keys.machine, ref)));
    CW_ASSERT(run->segments.size() == segments && run->points.size() == points);
    CW_ASSERT(std::ranges::all_of(run->segments, [](const SegmentRef& segment) {
        return check_segment_ref(segment).has_value();
    }));
    check_again(*run, keys, *random);
    ref.dead.assign(std::min<std::size_t>(1, run->size() / 8 + 1), std::byte{*dead});
    check_chain(*run, ref, keys, *random);
    return 0;
}
