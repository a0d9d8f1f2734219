// What a resync is about: SUMMARIES, SUMMARIES_REQUEST, RESYNC_REQUIRED.
//
// SUMMARIES_REQUEST: u32 first super-chunk | u32 count
// SUMMARIES: u32 first super-chunk | u32 count | per super-chunk: u64 known blocks | 16 digest
// RESYNC_REQUIRED: u64 missed bytes | text reason
#include "ingest/wire/codec.h"
#include "ingest/wire/messages.h"

#include <bit>

namespace cw::wire {
namespace {

constexpr std::uint64_t supers_max = disk_bytes_max / super_chunk_bytes;

bool supers_are_valid(std::uint64_t first, std::uint64_t count) noexcept {
    return count >= 1 && count <= summaries_max && first < supers_max &&
           count <= supers_max - first;
}

// What is not known has no digest: one meaning has one form.
bool entry_is_valid(const Summaries::Entry& entry) noexcept {
    return entry.known != 0 || entry.digest == Fingerprint{};
}

}  // namespace

Summaries::Entry summarise(std::uint64_t known, std::span<const Fingerprint> fingerprints,
                           const FingerprintSecret& secret) {
    CW_ASSERT(static_cast<std::size_t>(std::popcount(known)) == fingerprints.size());
    Summaries::Entry entry{.known = known, .digest = {}};
    if (known != 0) {
        entry.digest = fingerprint(std::as_bytes(fingerprints), secret);
    }
    return entry;
}

ByteVector encode(const Summaries& summaries) {
    CW_ASSERT(supers_are_valid(summaries.first, summaries.entries.size()));
    ByteVector out;
    ByteAppender appender(out);
    appender.u32(summaries.first);
    appender.u32(static_cast<std::uint32_t>(summaries.entries.size()));
    for (const Summaries::Entry& entry : summaries.entries) {
        CW_ASSERT(entry_is_valid(entry));
        appender.u64(entry.known);
        appender.bytes(entry.digest);
    }
    return out;
}

template <>
Result<Summaries> decode<Summaries>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Summaries summaries;
    CW_TRY_ASSIGN(summaries.first, reader.u32());
    CW_TRY_ASSIGN(const std::uint32_t count, reader.u32());
    if (!supers_are_valid(summaries.first, count)) {
        return malformed("range of super-chunks");
    }
    summaries.entries.resize(count);
    for (Summaries::Entry& entry : summaries.entries) {
        CW_TRY_ASSIGN(entry.known, reader.u64());
        CW_TRY_ASSIGN(entry.digest, reader.array<16>());
        if (!entry_is_valid(entry)) {
            return malformed("a digest of nothing");
        }
    }
    CW_TRY(expect_end(reader));
    return summaries;
}

ByteVector encode(const SummariesRequest& request) {
    CW_ASSERT(supers_are_valid(request.first, request.count));
    ByteVector out;
    ByteAppender appender(out);
    appender.u32(request.first);
    appender.u32(request.count);
    return out;
}

template <>
Result<SummariesRequest> decode<SummariesRequest>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    SummariesRequest request;
    CW_TRY_ASSIGN(request.first, reader.u32());
    CW_TRY_ASSIGN(request.count, reader.u32());
    if (!supers_are_valid(request.first, request.count)) {
        return malformed("range of super-chunks");
    }
    CW_TRY(expect_end(reader));
    return request;
}

ByteVector encode(const ResyncRequired& required) {
    CW_ASSERT(required.reason.size() <= reason_bytes_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u64(required.missed_bytes);
    appender.text16(required.reason);
    return out;
}

template <>
Result<ResyncRequired> decode<ResyncRequired>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    ResyncRequired required;
    CW_TRY_ASSIGN(required.missed_bytes, reader.u64());
    CW_TRY_ASSIGN(required.reason, reader.text16(reason_bytes_max));
    CW_TRY(expect_end(reader));
    return required;
}

}  // namespace cw::wire
