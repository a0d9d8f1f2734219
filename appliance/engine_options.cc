#include "appliance/engine_options.h"

#include "appliance/digest_desk.h"
#include "base/assert.h"

#include <algorithm>
#include <ctime>
#include <thread>

namespace cw::appliance {
namespace {

constexpr std::uint64_t code_bytes = 24 * mib;  // Code, stacks, small tables, the heap's slack.
// Segments that upkeep writes again: chunks, the object, and what a request holds of it.
constexpr std::uint64_t upkeep_bytes = 24 * mib;
// Of the whole budget, for what chains keep alive: once with the publisher, once with a reader
// (upkeep or digests) and once with whoever opens a machine.
constexpr std::uint64_t chains_share = 16;
constexpr std::size_t backlog_records = 512 * 1024;
constexpr std::uint64_t backlog_record_bytes = 112;  // EngineOptions::backlog_records
constexpr std::uint32_t jobs_at_once = 4;

pipeline::CodecPolicyOptions codec_options(const config::Settings& settings) {
    const auto mode = pipeline::parse_compression(settings.pipeline_compression);
    CW_ASSERT(mode.has_value());  // The settings' choices are the parser's.
    pipeline::CodecPolicyOptions options;
    options.mode = *mode;
    options.zstd_level = static_cast<int>(settings.pipeline_zstd_level);
    // More than one whole segment waits: with small ones a fixed amount would never be reached.
    options.compute_high_bytes = settings.pipeline_segment_window + 8 * mib;
    return options;
}

pipeline::VerifyMode verify_mode(const config::Settings& settings) {
    const auto mode = pipeline::parse_verify(settings.pipeline_verify);
    CW_ASSERT(mode.has_value());  // The settings' choices are the parser's.
    return *mode;
}

}  // namespace

std::int32_t utc_offset_minutes(Clock& clock) {
    ::tzset();  // The machine may have moved to another zone.
    const std::time_t now = static_cast<std::time_t>(raw(clock.wall()) / 1'000'000);
    std::tm local{};
    ::localtime_r(&now, &local);
    return static_cast<std::int32_t>(local.tm_gmtoff / 60);
}

std::uint32_t compute_workers(const config::Settings& settings) {
    if (settings.pipeline_compute_threads > 0) {
        return static_cast<std::uint32_t>(settings.pipeline_compute_threads);
    }
    return std::max(1U, std::thread::hardware_concurrency());
}

std::size_t upload_loops(const config::Settings& settings) {
    return std::clamp<std::size_t>(compute_workers(settings) / 4, 1, 16);
}

pipeline::BudgetNeeds with_engine_needs(pipeline::BudgetNeeds needs,
                                        const config::Settings& settings) {
    needs.compute_workers = compute_workers(settings);
    needs.zstd_level = std::max(needs.zstd_level, static_cast<int>(settings.pipeline_zstd_level));
    needs.jobs_at_once = jobs_at_once;
    needs.upload_connections = static_cast<std::uint32_t>(settings.egress_total_connections);
    needs.fixed_bytes = code_bytes;
    needs.others = {
        {"backlog", backlog_records * backlog_record_bytes,
         "records known and not committed, without their payload"},
        {"chains", needs.limit_bytes / chains_share, "live segments and points, three times"},
        {"digests", DigestDesk::bytes_max(), "fingerprints of disks that are compared"},
        {"upkeep", upkeep_bytes, "segments that are written again"},
    };
    return needs;
}

upload::LaneOptions lane_options(const config::Settings& settings) {
    return {
        .upload_threads_per_vm = static_cast<std::uint32_t>(settings.egress_upload_threads_per_vm),
        .total_connections = static_cast<std::uint32_t>(settings.egress_total_connections)};
}

upload::BandwidthOptions bandwidth_options(const config::Settings& settings, Clock& clock) {
    upload::BandwidthOptions options;
    options.bytes_per_s = settings.egress_bandwidth;
    options.utc_offset_minutes = utc_offset_minutes(clock);
    for (const config::BandwidthWindow& window : settings.egress_schedule) {
        options.rules.push_back({.days = window.days,
                                 .from_minute = window.from_minute,
                                 .to_minute = window.to_minute,
                                 .bytes_per_s = window.bytes_per_second});
    }
    return options;
}

upload::EngineOptions engine_options(const config::Settings& settings, Clock& clock,
                                     const pipeline::SlabSplit& slabs) {
    upload::EngineOptions options;
    options.lanes = lane_options(settings);
    options.bandwidth = bandwidth_options(settings, clock);
    options.codec = codec_options(settings);
    options.verify = verify_mode(settings);
    options.segment_raw_bytes = settings.pipeline_segment_window;
    options.seal_after_ns =
        static_cast<std::int64_t>(settings.egress_segment_deadline_ms) * ns_per_ms;
    options.commit_interval_ns =
        static_cast<std::int64_t>(settings.egress_commit_interval_ms) * ns_per_ms;
    options.read_back_every = static_cast<std::uint32_t>(settings.egress_read_back_every);
    options.jobs = jobs_at_once;
    options.segment_slabs =
        static_cast<std::uint32_t>(std::min<std::size_t>(options.segment_slabs, slabs.readback));
    options.ingest_slabs_low = slabs.ingest / 4;
    options.backlog_records = backlog_records;
    options.chain_bytes_max = settings.pipeline_memory / chains_share / 3;
    return options;
}

}  // namespace cw::appliance
