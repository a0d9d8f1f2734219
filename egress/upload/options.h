// Options of the upload engine: plain values that appliance fills from the settings. Those marked
// live may change while the engine runs (Engine::set_lanes, set_bandwidth, set_codec).
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "egress/blob/send_pace.h"
#include "egress/vault/index_run.h"
#include "pipeline/codec_policy.h"
#include "pipeline/transform.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace cw::upload {

// Live. Who may send how much at once.
struct LaneOptions {
    std::uint32_t upload_threads_per_vm = 4;  // 1..32: segments of one machine on the wire.
    std::uint32_t total_connections = 64;     // 1..1024: of all machines together.
};

// Live. The first rule that matches the local weekday and minute gives the limit, else `fallback`.
struct BandwidthRule {
    std::uint8_t days = 0x7f;        // Bit 0 Monday … bit 6 Sunday.
    std::uint16_t from_minute = 0;   // Of the day, inclusive.
    std::uint16_t to_minute = 1440;  // Exclusive; not after `from_minute`: wraps over midnight.
    std::uint64_t bytes_per_s = 0;   // 0: no limit.
};
struct BandwidthOptions {
    std::uint64_t bytes_per_s = 0;  // Outside all rules; 0: no limit.
    std::vector<BandwidthRule> rules;
    std::int32_t utc_offset_minutes = 0;  // Local time of the rules.
};

struct EngineOptions {
    LaneOptions lanes;
    BandwidthOptions bandwidth;
    pipeline::CodecPolicyOptions codec;  // Live.
    pipeline::VerifyMode verify = pipeline::VerifyMode::full;

    // Sealing. A segment ends at a barrier, at a limit, or `seal_after_ns` after its first record
    // arrived here: size is a wish, the deadline is the rule.
    std::uint64_t segment_raw_bytes = pipeline::plan_raw_bytes_max;  // 8 MiB..plan_raw_bytes_max
    std::uint32_t segment_slabs = 96;  // Slabs that one segment's payload may need when read back.
    std::int64_t seal_after_ns = 5 * ns_per_s;
    // Below this many free slabs in the ingest pool, payload of open and waiting segments is
    // dropped (oldest deadline last) and read back from the spool later.
    std::size_t ingest_slabs_low = 64;
    // Records known here and not yet committed; more are not taken from the ring. Those of stopped
    // machines do not count. Without payload one costs at most 112 bytes: 1 Mi records are 112 MiB,
    // a term of the memory budget.
    std::size_t backlog_records = 1024 * 1024;
    std::size_t jobs = 4;  // Segments between sealing and upload at once.

    // One segment of so many is read back and compared before it is named; 0: none.
    std::uint32_t read_back_every = 0;

    // Publishing.
    std::int64_t commit_interval_ns = 1 * ns_per_s;     // Finished segments wait at most this long.
    std::int64_t same_as_interval_ns = 900 * ns_per_s;  // Between manifests extending valid_until.
    // With nothing to publish: between looks for a manifest of another server, which has the
    // machine then. One read each.
    std::int64_t ownership_check_ns = 300 * ns_per_s;
    // The same while something waits and is not published: for its agent's repair, above all.
    std::int64_t waiting_check_ns = 30 * ns_per_s;
    std::int64_t provisional_ns = 30 * ns_per_s;  // A group point without result becomes plain.
    std::int64_t segment_age_ns = 12 * 3600 * ns_per_s;  // Older ones are uploaded again first.
    std::uint32_t checkpoint_every = 64;
    std::uint32_t checkpoints_kept = 4;  // Manifests before them may be deleted.
    // Memory for what is alive of all chains together (Ledger::memory_bytes); 0: no limit. At the
    // limit nothing new is published until pruning has made room.
    std::uint64_t chain_bytes_max = 0;
    vault::RunLimits runs;  // When a checkpoint moves its entries into objects of their own.
    std::uint64_t dek_bytes = 1024 * gib;  // Stored bytes after which a new DEK is made.

    // Told how fast each upload may be sent, so that a limit is kept smoothly within an object too;
    // null: the limit only decides when objects start.
    std::shared_ptr<blob::SendPace> pace;

    // Pauses after a failed request: doubling from the first to the second.
    std::int64_t pause_first_ns = 250 * ns_per_ms;
    std::int64_t pause_max_ns = 30 * ns_per_s;

    std::size_t stored_ring = 4096;  // Capacity of the ring from the spool's thread.
    std::size_t stage_rings = 1024;  // Of each ring between stages; what is more waits behind it.
};

}  // namespace cw::upload
