// A process server in memory, as PROTOCOL.md describes it: keeps what it is sent, refuses what
// breaks a rule, and can rebuild any disk at any cut. Strict: a violation is recorded and fails the
// test.
#pragma once

#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"
#include "pipeline/point.h"
#include "tests/agent/model_disk.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace cw::agent::test {

class ModelServer {
public:
    using Disk = ModelDisk;
    struct PointSeen {
        pipeline::Point point;
        bool committed = false;
    };

    // --- knobs ---
    std::uint64_t window = 64 * mib;  // Credit granted beyond what was received.
    bool auto_sync = true;            // Everything received is durable and acknowledged at once.
    bool auto_commit = true;
    bool hold_fences = false;  // Neither of the two while a fence is open: it cannot be closed.
    bool know_hashes = false;  // Answers HASHES_REQUEST from its committed content,
    std::set<std::uint64_t> unknown_blocks;  // but for these.
    bool reject_all = false;
    Generation first_generation{1};
    bool mute = false;  // HELLO is taken and never answered.
    std::optional<Errc> refuse_with;
    std::string refuse_detail = "told to";
    std::optional<wire::Policy> policy;                    // Said after WELCOME.
    std::uint64_t features = wire::feature_own_sequences;  // WELCOME's.
    bool order_resyncs = false;  // HELLOs of disks that asked are answered with a resync.
    // The next WRITEs of this disk, that many, are answered with a NAK; what follows is thrown away
    // until the expected one comes.
    struct Naks {
        DiskId disk;
        wire::NakReason reason{};
        unsigned left = 0;
    };
    Naks naks;

    // In the session that stands.
    void say_policy(const wire::Policy& what);
    // What became durable is acknowledged; with commit also what is committed.
    void sync();
    void commit();
    // Power cut: what was received and not synced is gone; the session too.
    void crash();
    // Another server takes over with what was committed.
    void take_over();

    // The disk as a reader of the vault would see it at `cut`.
    [[nodiscard]] ByteVector materialise(const DiskId& id, Seq cut) const;

    std::map<DiskId, Disk> disks;
    std::vector<PointSeen> points;
    std::map<PointId, bool> results;  // Of points of a group.
    std::vector<std::string> violations;
    std::vector<wire::ReplicationMode> modes;
    std::map<std::uint16_t, wire::Extents> unread;  // By slot, since the last MODE.
    std::uint64_t base_bytes = 0, write_bytes = 0, sessions = 0, hashes_sent = 0;
    std::uint64_t ends_refused = 0;
    std::uint64_t summaries_sent = 0;
    std::uint64_t digest_bytes = 0;                // Of HASHES and SUMMARIES, their headers too.
    std::map<DiskId, wire::ResyncRequired> asked;  // The last of each disk.
    unsigned times_asked = 0;
    bool goodbye = false;
    std::uint64_t boot_counter = 0;  // The last HELLO's.
    // What ACK tells of the vault, and the witness of the last HELLO.
    std::uint64_t manifest_number = 0, witness_number = 0;
    Sha256 manifest_hash{}, witness_hash{};
    std::vector<wire::ResyncKind> begins;
    std::vector<std::string> begin_reasons;
    std::string welcome_reason;  // Said of every disk, if anything.
    FingerprintSecret secret{};

    // --- the wire ---
    void open_session();
    void receive(Bytes bytes);
    ByteVector out;  // To the agent.
    bool closed = true;

private:
    void handle(const wire::FrameHeader& header, Bytes payload);
    void on_hello(Bytes payload);
    void welcome_disk(const wire::Hello::Disk& said, wire::Welcome::Disk& answer);
    void on_write(const wire::FrameHeader& header, Bytes payload);
    bool refuse(const wire::FrameHeader& header, const Disk& disk);
    void on_base(const wire::FrameHeader& header, Bytes payload);
    void on_point(Bytes payload);
    void on_resync(const wire::FrameHeader& header, Bytes payload);
    wire::Hashes hashes_of(std::uint16_t slot, std::uint64_t first, std::uint32_t count);
    void on_summaries_request(const wire::FrameHeader& header, Bytes payload);
    void on_hashes_request(const wire::FrameHeader& header, Bytes payload);
    void keep(Disk& disk, const wire::FrameHeader& header, Bytes payload, bool base);
    void send(wire::FrameType type, std::uint16_t slot, Bytes payload);
    void grant();
    void violate(std::string what) { violations.push_back(std::move(what)); }
    Disk* at_slot(std::uint16_t slot);

    ByteVector in_;
    std::vector<DiskId> slots_;
    std::uint32_t session_ = 0;
    std::uint64_t taken_ = 0;  // Payload bytes of this session.
    std::map<std::uint16_t, std::vector<std::uint32_t>> new_ordinals_;
    std::set<DiskId> stopped_;  // NAKed in this session.
};

}  // namespace cw::agent::test
