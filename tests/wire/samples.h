// One valid, fully populated example of every message: the golden encodings that tests mutate.
#pragma once

#include "ingest/wire/messages.h"

namespace cw::wire::samples {

template <typename Id>
Id id_of(std::uint8_t seed) {
    Id id;
    for (std::size_t i = 0; i < id.bytes.size(); ++i) {
        id.bytes[i] = static_cast<std::byte>(seed + i);
    }
    return id;
}

inline Hello hello() {
    Hello out;
    out.features = 5;
    out.software = "causeway-agent 0.1.0";
    out.machine_name = "db-1";
    out.boot_counter = 7;
    out.witness_number = 41;
    out.witness_hash.fill(std::byte{0x41});
    out.disks.push_back(
        {id_of<DiskId>(1), 64 * mib, Generation{2}, Seq{100}, Seq{90}, true, "vda"});
    out.disks.push_back({id_of<DiskId>(2), 4096, Generation{1}, Seq{1}, Seq{1}, false, "vdb"});
    return out;
}

inline Welcome welcome() {
    Welcome out;
    out.session = SessionId{77};
    out.credit_bytes = 64 * mib;
    out.bulk_connections = 2;
    out.fingerprint_secret.fill(std::byte{0x5e});
    out.manifest_number = 41;
    out.manifest_hash.fill(std::byte{0x42});
    out.disks.push_back(
        {DiskAction::continue_, Generation{2}, Seq{99}, Seq{90}, false, Seq{0}, {}, ""});
    out.disks.push_back({DiskAction::initial,
                         Generation{1},
                         Seq{5},
                         Seq{0},
                         true,
                         Seq{1},
                         {std::byte{0x0f}, std::byte{1}},
                         "new disk"});
    return out;
}

inline Ack ack() {
    Ack out;
    out.manifest_number = 42;
    out.manifest_hash.fill(std::byte{0x17});
    out.disks.push_back({0, Seq{120}, Seq{110}, Seq{100}, Seq{0}, {}, {}});
    out.disks.push_back({1, Seq{3}, Seq{2}, Seq{1}, Seq{1}, {0, 1, 15}, {7}});
    return out;
}

inline Hashes hashes() {
    Hashes out;
    out.first_block = 64;
    out.known = {true, false, true, true, false, false, false, false, true};
    out.fingerprints.resize(4);
    out.fingerprints[3].fill(std::byte{0xab});
    return out;
}

inline Goodbye goodbye() {
    return {{{0, Seq{120}}, {1, Seq{3}}}, true};
}
inline Nak nak() {
    return {1, NakReason::gap, Seq{42}, "missing"};
}
inline PointStatus point_status() {
    return {id_of<PointId>(9), PointState::dropped, 7, "takeover"};
}
inline Mode mode() {
    return {ReplicationMode::metadata, 5 * gib, "credit closed"};
}
inline ErrorMessage error() {
    return {3012, "full", 30};
}
inline ResyncBegin resync_begin() {
    return {ResyncKind::catch_up, "server moved"};
}
inline Extents extents() {
    return {{{0, 4096}, {4096, 512}, {mib, mib}}};
}

inline Summaries summaries() {
    Summaries out;
    out.first = 7;
    out.entries.resize(3);
    out.entries[0].known = 0x8000'0000'0000'0001;
    out.entries[0].digest.fill(std::byte{0xcd});
    out.entries[2].known = ~std::uint64_t{0};
    out.entries[2].digest.fill(std::byte{1});
    return out;
}
inline ResyncRequired resync_required() {
    return {3 * gib, "more than half"};
}

inline Policy policy() {
    return {5'000, 3'600'000};
}

// Calls `visit(message)` with one example of every message type.
template <typename Visitor>
void for_each(Visitor&& visit) {
    visit(hello());
    visit(welcome());
    visit(ack());
    visit(Credit{123456789});
    visit(nak());
    visit(point_status());
    visit(mode());
    visit(hashes());
    visit(HashesRequest{4096, 4096});
    visit(error());
    visit(goodbye());
    visit(resync_begin());
    visit(Resize{4096});
    visit(extents());
    visit(Ping{0x1122334455667788});
    visit(policy());
    visit(summaries());
    visit(SummariesRequest{1024, 64});
    visit(resync_required());
}

}  // namespace cw::wire::samples
