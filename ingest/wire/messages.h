// The messages that live only on a connection. Every decode checks every field; errors are
// frame_malformed unless said otherwise. Names are people's words: data, never paths.
#pragma once

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/crypto.h"
#include "base/error.h"
#include "base/ids.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cw::wire {

inline constexpr std::size_t disks_max = 256, name_bytes_max = 256, reason_bytes_max = 512;
inline constexpr std::uint64_t disk_bytes_max = 64ULL << 40;  // 64 TiB
inline constexpr std::size_t hashes_max = 4096, extents_max = 4096, summaries_max = 64;
inline constexpr std::size_t ack_ordinals_max = 65536;  // Per frame, both lists of all disks.
inline constexpr std::uint32_t bulk_connections_max = 64, retry_after_s_max = 86'400;
inline constexpr std::uint64_t critical_features = 0xffff'ffff'0000'0000;  // Of Hello::features.
inline constexpr std::uint64_t feature_policy = 1;  // Of Hello::features: POLICY is understood.
// Of Welcome::features: RESYNC_REQUIRED is kept and obeyed; SUMMARIES_REQUEST is answered; a disk's
// first frame may be a RESYNC_BEGIN above the sequence that is expected.
inline constexpr std::uint64_t feature_resync_orders = 2, feature_summaries = 4,
                               feature_own_sequences = 8;
inline constexpr std::uint64_t interval_ms_min = 1'000, interval_ms_max = 86'400'000;
inline constexpr std::uint64_t app_interval_ms_max = 604'800'000;
inline constexpr std::uint32_t super_chunk_bytes = 4 * 1024 * 1024;
inline constexpr std::uint32_t hash_block_bytes = 64 * 1024;

struct Hello {
    std::uint16_t version_min = 1, version_max = 1;
    std::uint64_t features = 0;  // Low half optional bits; high half critical: unknown ones refuse.
    std::string software;        // "causeway-agent 0.1.0"
    std::string machine_name;
    // High half: persisted by the agent, grows with each start. Low half: random at each start, so
    // that two clones of one machine differ.
    std::uint64_t boot_counter = 0;
    std::uint64_t witness_number = 0;
    Sha256 witness_hash{};
    struct Disk {
        DiskId id;
        std::uint64_t size_bytes = 0;
        Generation generation{};
        Seq next_seq{}, oldest_held{};
        bool catch_up_possible = false;
        std::string name;
    };
    std::vector<Disk> disks;  // Their order gives the disk slots. 1..256, ids distinct.
    // Not 0: a bulk connection of that session, which may carry BASE only. It lists no disks; the
    // slots are those of the session it joins.
    SessionId joins{};
};

enum class DiskAction : std::uint8_t {
    continue_ = 1,
    initial = 2,
    resync = 3,
    reject = 4,
    catch_up = 5
};

struct Welcome {
    std::uint16_t version = 1;
    std::uint64_t features = 0;
    SessionId session{};
    std::uint64_t credit_bytes = 0;      // As a CREDIT frame.
    std::uint32_t bulk_connections = 0;  // How many more connections BASE may use.
    FingerprintSecret fingerprint_secret{};
    std::uint64_t manifest_number = 0;
    Sha256 manifest_hash{};
    struct Disk {
        DiskAction action = DiskAction::reject;
        Generation generation{};
        Seq durable{}, committed{};
        bool resync_open = false;
        Seq fence{};
        ByteVector base_durable;  // Bitmap, bit i of byte i/8: super-chunk i is held under `fence`.
        std::string reason;
    };
    std::vector<Disk> disks;  // In HELLO's order.
};

struct Ack {
    struct Disk {
        std::uint16_t slot = 0;
        Seq received{}, spooled{}, committed{};
        Seq fence{};                                              // Of the ordinals below; 0: none
        std::vector<std::uint32_t> base_spooled, base_committed;  // Newly, since the last ACK.
    };
    std::vector<Disk> disks;            // Only those with news.
    std::uint64_t manifest_number = 0;  // Of the newest commit.
    Sha256 manifest_hash{};
};

struct Credit {
    std::uint64_t cumulative_bytes = 0;  // Payload bytes of WRITE and BASE permitted since WELCOME.
};

enum class NakReason : std::uint8_t {
    gap = 1,
    corrupt = 2,
    generation = 3,
    size = 4,
    quota = 5,
    conflict = 6
};
struct Nak {
    std::uint16_t slot = 0;
    NakReason reason{};
    Seq expected{};
    std::string detail;
};

enum class PointState : std::uint8_t { durable = 1, committed = 2, same_as = 3, dropped = 4 };
struct PointStatus {
    PointId id;
    PointState state{};
    std::uint64_t manifest_number = 0;
    std::string reason;
};

// Why a fence is opened. Travels in RESYNC_BEGIN, whose header carries the fence sequence. The
// first three cover all that may be missing; resume only what changed since the sequence it
// follows, of which the header's ordinal tells the low half (pipeline/fence.h).
enum class ResyncKind : std::uint8_t { initial = 1, resync = 2, catch_up = 3, resume = 4 };
struct ResyncBegin {
    ResyncKind kind{};
    std::string reason;  // Recorded and shown: never an unexplained resync.
};

struct Resize {
    std::uint64_t size_bytes = 0;  // Sector multiple, 1 sector .. disk_bytes_max.
};

// Metadata mode: ranges that changed and were not read yet. Replaces the former list of this disk.
struct Extents {
    struct Range {
        std::uint64_t offset = 0, length = 0;  // Bytes; sector multiples; length > 0.
    };
    std::vector<Range> ranges;  // Ascending without overlap, at most extents_max. Empty: all read.
};

struct Ping {  // And PONG, which returns the token.
    std::uint64_t token = 0;
};

enum class ReplicationMode : std::uint8_t { data = 1, metadata = 2, bitmap = 3 };
struct Mode {
    ReplicationMode mode{};
    std::uint64_t backlog_bytes = 0;
    std::string reason;
};

// The server's digests of 64 KiB blocks: `known` bit clear means unknown, which counts as
// different.
struct Hashes {
    std::uint64_t first_block = 0;
    std::vector<bool> known;                // At most 4096 per frame.
    std::vector<Fingerprint> fingerprints;  // One per known bit, in order.
};
struct HashesRequest {
    std::uint64_t first_block = 0;
    std::uint32_t count = 0;  // 1..4096
};

// The upper level of digests: one entry for the 64 blocks of each super-chunk. `digest` is the
// fingerprint, under the same secret, of the fingerprints of the blocks that `known` names, one
// after the other in ascending order; zeros if it names none.
struct Summaries {
    struct Entry {
        std::uint64_t known = 0;  // Bit i: block i of the super-chunk.
        Fingerprint digest{};
    };
    std::uint32_t first = 0;     // Ordinal of the first super-chunk.
    std::vector<Entry> entries;  // 1..summaries_max
};
struct SummariesRequest {
    std::uint32_t first = 0, count = 0;  // 1..summaries_max super-chunks
};
// `fingerprints`: of the blocks that `known` names, in ascending order.
Summaries::Entry summarise(std::uint64_t known, std::span<const Fingerprint> fingerprints,
                           const FingerprintSecret& secret);

// So much of a disk was missed that the agent does not catch up by itself: the server shall order a
// resync when it suits.
struct ResyncRequired {
    std::uint64_t missed_bytes = 0;
    std::string reason;
};

struct ErrorMessage {
    std::uint16_t code = 0;  // Errc as a number; unknown numbers are shown, not acted on.
    std::string detail;
    std::uint32_t retry_after_s = 0;
};

struct Goodbye {
    struct Disk {
        std::uint16_t slot = 0;
        Seq final_seq{};
    };
    std::vector<Disk> disks;
    bool planned_failover = false;
};

// How often the machine's agent shall make points, unless a person told the agent otherwise. Sent
// after WELCOME and again when it changes, to agents that said feature_policy.
struct Policy {
    std::uint64_t interval_ms = 300'000;  // interval_ms_min .. interval_ms_max
    std::uint64_t app_interval_ms =
        3'600'000;  // .. app_interval_ms_max; 0: none but when asked for
    friend bool operator==(const Policy&, const Policy&) = default;
};

// Each asserts the bounds that its decode checks.
ByteVector encode(const Hello&);
ByteVector encode(const Welcome&);
ByteVector encode(const Ack&);
ByteVector encode(const Credit&);
ByteVector encode(const Nak&);
ByteVector encode(const PointStatus&);
ByteVector encode(const Mode&);
ByteVector encode(const Hashes&);
ByteVector encode(const HashesRequest&);
ByteVector encode(const Summaries&);
ByteVector encode(const SummariesRequest&);
ByteVector encode(const ResyncRequired&);
ByteVector encode(const ErrorMessage&);
ByteVector encode(const Goodbye&);
ByteVector encode(const ResyncBegin&);
ByteVector encode(const Resize&);
ByteVector encode(const Extents&);
ByteVector encode(const Ping&);
ByteVector encode(const Policy&);

template <typename Message>
Result<Message> decode(Bytes payload);  // Specialised for each of the above.
template <>
Result<Hello> decode<Hello>(Bytes payload);
template <>
Result<Welcome> decode<Welcome>(Bytes payload);
template <>
Result<Ack> decode<Ack>(Bytes payload);
template <>
Result<Credit> decode<Credit>(Bytes payload);
template <>
Result<Nak> decode<Nak>(Bytes payload);
template <>
Result<PointStatus> decode<PointStatus>(Bytes payload);
template <>
Result<Mode> decode<Mode>(Bytes payload);
template <>
Result<Hashes> decode<Hashes>(Bytes payload);
template <>
Result<HashesRequest> decode<HashesRequest>(Bytes payload);
template <>
Result<Summaries> decode<Summaries>(Bytes payload);
template <>
Result<SummariesRequest> decode<SummariesRequest>(Bytes payload);
template <>
Result<ResyncRequired> decode<ResyncRequired>(Bytes payload);
template <>
Result<ErrorMessage> decode<ErrorMessage>(Bytes payload);
template <>
Result<Goodbye> decode<Goodbye>(Bytes payload);
template <>
Result<ResyncBegin> decode<ResyncBegin>(Bytes payload);
template <>
Result<Resize> decode<Resize>(Bytes payload);
template <>
Result<Extents> decode<Extents>(Bytes payload);
template <>
Result<Ping> decode<Ping>(Bytes payload);
template <>
Result<Policy> decode<Policy>(Bytes payload);

// Shortens the bitmaps, from the last ordinal on, until the encoded message fits a control payload.
// A missing bit only means that the super-chunk is sent again.
void fit_to_frame(Welcome& welcome);

}  // namespace cw::wire
