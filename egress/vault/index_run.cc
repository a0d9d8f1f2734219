#include "egress/vault/index_run.h"

#include "base/assert.h"
#include "egress/vault/manifest_entries.h"

#include <algorithm>
#include <bit>
#include <set>

namespace cw::vault {
namespace {

constexpr std::uint32_t run_magic = 0x52495743;  // "CWIR"
constexpr std::uint16_t run_version = 1;
constexpr std::size_t run_header_bytes = 64;

Secret<Key256> run_key(const MachineKeys& keys, Bytes salt) {
    Key256 key = hkdf_sha256(keys.machine_key.reveal(), salt, as_bytes("index run"));
    Secret<Key256> out(key);
    wipe(key);
    return out;
}

std::size_t encoded_bytes(const PointEntry& point) {
    return point_entry_min + point.tag.size() + point.cuts.size() * cut_bytes;
}

std::size_t dead_in(const IndexRunRef& run) {
    std::size_t count = 0;
    for (const std::byte bits : run.dead) {
        count += static_cast<std::size_t>(std::popcount(std::to_integer<unsigned>(bits)));
    }
    return count;
}

// Collects entries into runs of bounded size.
class Packer {
public:
    Packer(CheckpointPlan& plan, const RunLimits& limits) : plan_(plan), limits_(limits) {}

    // False: no run is left for it.
    bool add(const SegmentRef& ref) {
        if (!room(segment_ref_bytes)) {
            return false;
        }
        plan_.fresh.back().segments.push_back(ref);
        return true;
    }
    bool add(const PointEntry& point) {
        if (!room(encoded_bytes(point))) {
            return false;
        }
        plan_.fresh.back().points.push_back(point);
        return true;
    }

private:
    bool room(std::size_t bytes) {
        if (plan_.fresh.empty() || used_ + bytes > limits_.run_bytes) {
            if (plan_.fresh.size() == limits_.runs_max) {
                return false;
            }
            plan_.fresh.emplace_back();
            used_ = 0;
        }
        used_ += bytes;
        return true;
    }

    CheckpointPlan& plan_;
    const RunLimits& limits_;
    std::size_t used_ = 0;
};

// Runs less than half full whose live entries may take up to `room` bytes together.
std::set<std::uint32_t> thin_runs(const ChainState& state, const RunLimits& limits,
                                  std::size_t room) {
    std::map<std::uint32_t, std::size_t> live;  // Bytes alive per run.
    for (const auto& [name, ref] : state.segments) {
        live[ref.place.run] += segment_ref_bytes;
    }
    for (const auto& [id, point] : state.points) {
        live[point.place.run] += encoded_bytes(point);
    }
    std::set<std::uint32_t> thin;
    for (const auto& [run, bytes] : live) {
        if (run != 0 && bytes < limits.run_bytes / 2 && bytes <= room) {
            thin.insert(run);
            room -= bytes;
        }
    }
    return thin;
}

}  // namespace

SegmentName index_run_name(const MachineId& machine, const IndexRunRef& run) {
    SegmentName name;
    name.machine = machine;
    name.epoch = run.epoch;
    name.first_seq = Seq{run.id};
    name.attempt = run.attempt;
    return name;
}

bool is_index_run(const SegmentName& name) {
    return name.disk.is_nil() && raw(name.generation) == 0;
}

SealedRun seal_index_run(const IndexRun& run, IndexRunRef ref, const MachineKeys& keys,
                         Random& random) {
    CW_ASSERT(ref.id > 0 && run.size() > 0);
    ByteVector body;
    ByteAppender entries(body);
    entries.u32(static_cast<std::uint32_t>(run.segments.size()));
    for (const SegmentRef& segment : run.segments) {
        CW_ASSERT(segment.name.machine == keys.machine);
        append_segment(entries, segment);
    }
    entries.u32(static_cast<std::uint32_t>(run.points.size()));
    for (const PointEntry& point : run.points) {
        CW_ASSERT(point.manifest != 0);
        append_point(entries, point, point.manifest);
    }
    std::array<std::byte, 32> salt;
    random.fill(salt);
    random.fill(ref.attempt);

    SealedRun sealed;
    ByteAppender out(sealed.bytes);
    out.u32(run_magic);
    out.u16(run_version);
    out.u16(0);
    out.bytes(keys.machine.bytes);
    out.u32(ref.id);
    out.u32(static_cast<std::uint32_t>(body.size()));
    out.bytes(salt);
    CW_ASSERT(sealed.bytes.size() == run_header_bytes);
    const ByteVector header = sealed.bytes;
    out.zeros(body.size());
    const GcmTag tag =
        AesGcm(run_key(keys, salt).reveal())
            .seal(GcmNonce{}, header, body, MutableBytes(sealed.bytes).subspan(run_header_bytes));
    out.bytes(tag);
    CW_ASSERT(sealed.bytes.size() <= index_run_bytes_max);
    ref.segments = static_cast<std::uint32_t>(run.segments.size());
    ref.points = static_cast<std::uint32_t>(run.points.size());
    ref.object_bytes = sealed.bytes.size();
    ref.hash = sha256(sealed.bytes);
    ref.dead.clear();
    sealed.ref = std::move(ref);
    return sealed;
}

namespace {

Result<IndexRun> read_entries(Bytes body, const IndexRunRef& ref, const MachineId& machine) {
    ByteReader in(body, Errc::object_corrupt);
    IndexRun run;
    CW_TRY_ASSIGN(const std::uint32_t segments, in.u32());
    if (segments != ref.segments || segments > in.remaining() / segment_ref_bytes) {
        return fail(Errc::object_corrupt, "the index run has another number of segments");
    }
    run.segments.reserve(segments);
    for (std::uint32_t i = 0; i < segments; ++i) {
        CW_TRY_ASSIGN(SegmentRef segment, read_segment(in, machine));
        run.segments.push_back(std::move(segment));
    }
    CW_TRY_ASSIGN(const std::uint32_t points, in.u32());
    if (points != ref.points || points > in.remaining() / point_entry_min) {
        return fail(Errc::object_corrupt, "the index run has another number of points");
    }
    run.points.reserve(points);
    for (std::uint32_t i = 0; i < points; ++i) {
        CW_TRY_ASSIGN(PointEntry point, read_point(in, UINT64_MAX));
        run.points.push_back(std::move(point));
    }
    if (!in.at_end()) {
        return fail(Errc::object_corrupt, "the index run has the wrong length");
    }
    return run;
}

}  // namespace

Result<IndexRun> open_index_run(Bytes object, const IndexRunRef& ref, const MachineKeys& keys) {
    if (sha256(object) != ref.hash) {
        return fail(Errc::object_corrupt, "is not the index run that its manifest names");
    }
    ByteReader in(object, Errc::object_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    CW_TRY_ASSIGN(const std::uint16_t zero, in.u16());
    CW_TRY_ASSIGN(const auto machine, in.array<16>());
    CW_TRY_ASSIGN(const std::uint32_t id, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t body_bytes, in.u32());
    CW_TRY_ASSIGN(const auto salt, in.array<32>());
    if (magic != run_magic) {
        return fail(Errc::object_corrupt, "not an index run");
    }
    if (version != run_version) {
        return fail(Errc::format_unsupported, "index run version " + std::to_string(version));
    }
    CW_TRY_ASSIGN(const Bytes sealed, in.take(body_bytes));
    CW_TRY_ASSIGN(const GcmTag tag, in.array<16>());
    if (!in.at_end() || zero != 0 || id != ref.id || machine != keys.machine.bytes) {
        return fail(Errc::object_corrupt, "an index run of another machine, id or form");
    }
    ByteVector body(sealed.size());
    if (!AesGcm(run_key(keys, salt).reveal())
             .open(GcmNonce{}, object.first(run_header_bytes), sealed, tag, body)) {
        return fail(Errc::object_corrupt, "the index run fails its authentication");
    }
    return read_entries(body, ref, keys.machine);
}

CheckpointPlan plan_checkpoint(const ChainState& state, const RunLimits& limits) {
    CW_ASSERT(limits.run_bytes <= index_run_bytes_max / 2 && limits.runs_max >= 1);
    CheckpointPlan plan{.manifest = make_checkpoint(state), .fresh = {}};
    Manifest& manifest = plan.manifest;
    std::erase_if(manifest.runs, [](const IndexRunRef& run) {
        return dead_in(run) == std::size_t{run.segments} + run.points;
    });
    std::size_t loose = manifest.added.size() * segment_ref_bytes;
    for (const PointEntry& point : manifest.points) {
        loose += encoded_bytes(point);
    }
    if (loose <= limits.inline_bytes) {
        return plan;
    }
    // One run's worth is kept back: packing leaves gaps at the runs' ends.
    const std::size_t all = (limits.runs_max - 1) * limits.run_bytes;
    const auto thin = thin_runs(state, limits, all > loose ? all - loose : 0);
    std::erase_if(manifest.runs, [&](const IndexRunRef& run) { return thin.contains(run.id); });
    manifest.added.clear();
    manifest.points.clear();
    Packer packer(plan, limits);
    for (const auto& [name, ref] : state.segments) {
        if ((ref.place.run == 0 || thin.contains(ref.place.run)) && !packer.add(ref)) {
            manifest.added.push_back(ref);
        }
    }
    for (const auto& [id, point] : state.points) {
        if ((point.place.run == 0 || thin.contains(point.place.run)) && !packer.add(point)) {
            manifest.points.push_back(point);
        }
    }
    manifest.run_counter += static_cast<std::uint32_t>(plan.fresh.size());
    return plan;
}

}  // namespace cw::vault
