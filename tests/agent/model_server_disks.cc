// What the model of a server keeps of disks: writes, base, points, digests, and what is durable of
// them.
#include "pipeline/fence.h"
#include "tests/agent/model_server.h"

#include <algorithm>
#include <bit>

namespace cw::agent::test {
ModelServer::Disk* ModelServer::at_slot(std::uint16_t slot) {
    if (slot >= slots_.size()) {
        violate("slot");
        return nullptr;
    }
    return &disks[slots_[slot]];
}

void ModelServer::keep(Disk& disk, const wire::FrameHeader& header, Bytes payload, bool base) {
    taken_ += header.payload_bytes;
    if (taken_ > window + 64 * mib * 1024) {
        violate("credit");
    }
    if (const auto kept = disk.keep(header, payload, base); !kept) {
        violate(to_string(kept.error()));
    }
}

void ModelServer::on_write(const wire::FrameHeader& header, Bytes payload) {
    Disk* const disk = at_slot(header.disk_slot);
    if (disk == nullptr) {
        return;
    }
    if (refuse(header, *disk)) {
        taken_ += header.payload_bytes;
        return grant();
    }
    disk->untouched = false;
    if (disk->must_begin || header.seq != next(disk->received)) {
        return violate("WRITE at " + std::to_string(raw(header.seq)) + " after " +
                       std::to_string(raw(disk->received)));
    }
    write_bytes += header.data_bytes();
    keep(*disk, header, payload, false);
    grant();
}

// A NAK stops one disk until what is expected comes, whatever the reason.
bool ModelServer::refuse(const wire::FrameHeader& header, const Disk& disk) {
    const DiskId id = slots_[header.disk_slot];
    if (naks.left > 0 && naks.disk == id && header.seq == next(disk.received)) {
        --naks.left;
        stopped_.insert(id);
        send(wire::FrameType::nak, wire::machine_slot,
             wire::encode(wire::Nak{header.disk_slot, naks.reason, header.seq, "told to"}));
        return true;
    }
    if (stopped_.contains(id) && header.seq == next(disk.received)) {
        stopped_.erase(id);
    }
    return stopped_.contains(id);
}

void ModelServer::on_base(const wire::FrameHeader& header, Bytes payload) {
    Disk* const disk = at_slot(header.disk_slot);
    if (disk == nullptr) {
        return;
    }
    if (raw(disk->fence) == 0 || header.seq != disk->fence) {
        return violate("BASE of a fence that is not open");
    }
    base_bytes += header.data_bytes();
    keep(*disk, header, payload, true);
    new_ordinals_[header.disk_slot].push_back(header.ordinal);
    grant();
}

void ModelServer::on_resync(const wire::FrameHeader& header, Bytes payload) {
    Disk* const disk = at_slot(header.disk_slot);
    if (disk == nullptr) {
        return;
    }
    if (header.type == wire::FrameType::resync_begin) {
        const auto begin = wire::decode<wire::ResyncBegin>(payload).value();
        begins.push_back(begin.kind);
        begin_reasons.push_back(begin.reason);
        const bool resumes = begins.back() == wire::ResyncKind::resume;
        if (resumes ? disk->must_begin || header.ordinal != pipeline::ordinal_of(disk->received)
                    : header.ordinal != 0) {
            return violate("RESYNC_BEGIN does not cover what is missing");
        }
        const Seq expected = disk->must_begin ? disk->begin_at : next(disk->received);
        const bool leaps = std::exchange(disk->untouched, false) && header.seq > expected &&
                           (features & wire::feature_own_sequences) != 0;
        if (header.seq != expected && !leaps) {
            return violate("RESYNC_BEGIN at " + std::to_string(raw(header.seq)) + ", expected " +
                           std::to_string(raw(expected)));
        }
        disk->open_fence(header.seq);
    } else {
        if (header.seq != next(disk->received) || raw(disk->fence) == 0) {
            return violate("RESYNC_END");
        }
        if (header.ordinal > disk->ordinals.size()) {
            ++ends_refused;
            stopped_.insert(slots_[header.disk_slot]);
            const wire::Nak nak{header.disk_slot, wire::NakReason::generation, header.seq, "base"};
            return send(wire::FrameType::nak, wire::machine_slot, wire::encode(nak));
        }
        disk->close_fence(header.seq);
    }
}

void ModelServer::on_point(Bytes payload) {
    const auto point = pipeline::decode_point(payload);
    if (!point) {
        return violate(to_string(point.error()));
    }
    wire::PointStatus status{point->id, wire::PointState::durable, 0, ""};
    for (const auto& cut : point->cuts) {
        const Disk& disk = disks[cut.disk];
        if (stopped_.contains(cut.disk)) {
            status.state = wire::PointState::dropped;
            continue;
        }
        if (cut.cut != disk.received || raw(disk.fence) != 0 || cut.generation != disk.generation) {
            status.state = wire::PointState::dropped;
            violate("POINT with a wrong cut or inside a fence");
        }
    }
    if (status.state == wire::PointState::durable &&
        std::ranges::none_of(points, [&](auto& seen) { return seen.point.id == point->id; })) {
        points.push_back({*point});
    }
    send(wire::FrameType::point_status, wire::machine_slot, wire::encode(status));
}

// What a reader of the vault knows of whole blocks.
wire::Hashes ModelServer::hashes_of(std::uint16_t slot, std::uint64_t first, std::uint32_t count) {
    const Disk& disk = *at_slot(slot);
    wire::Hashes hashes;
    hashes.first_block = first;
    hashes.known.resize(count);
    const ByteVector content =
        know_hashes ? materialise(slots_[slot], disk.committed) : ByteVector{};
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t at = (first + i) * 64 * kib;
        if (at + 64 * kib <= content.size() && !unknown_blocks.contains(first + i)) {
            hashes.known[i] = true;
            hashes.fingerprints.push_back(
                fingerprint(Bytes(content).subspan(at, 64 * kib), secret));
        }
    }
    return hashes;
}

void ModelServer::on_hashes_request(const wire::FrameHeader& header, Bytes payload) {
    const auto request = wire::decode<wire::HashesRequest>(payload);
    const ByteVector answer =
        wire::encode(hashes_of(header.disk_slot, request->first_block, request->count));
    ++hashes_sent;
    digest_bytes += answer.size() + wire::frame_header_bytes;
    send(wire::FrameType::hashes, header.disk_slot, answer);
}

void ModelServer::on_summaries_request(const wire::FrameHeader& header, Bytes payload) {
    if ((features & wire::feature_summaries) == 0) {
        return violate("SUMMARIES_REQUEST to a server that did not offer to answer");
    }
    const auto request = wire::decode<wire::SummariesRequest>(payload);
    wire::Summaries summaries;
    summaries.first = request->first;
    const wire::Hashes hashes =
        hashes_of(header.disk_slot, std::uint64_t{request->first} * 64, request->count * 64);
    std::span<const Fingerprint> left(hashes.fingerprints);
    for (std::size_t at = 0; at < hashes.known.size(); at += 64) {
        std::uint64_t known = 0;
        for (std::size_t bit = 0; bit < 64; ++bit) {
            known |= std::uint64_t{hashes.known[at + bit]} << bit;
        }
        const auto count = static_cast<std::size_t>(std::popcount(known));
        summaries.entries.push_back(wire::summarise(known, left.first(count), secret));
        left = left.subspan(count);
    }
    const ByteVector answer = wire::encode(summaries);
    ++summaries_sent;
    digest_bytes += answer.size() + wire::frame_header_bytes;
    send(wire::FrameType::summaries, header.disk_slot, answer);
}

void ModelServer::sync() {
    wire::Ack ack;
    ack.manifest_number = manifest_number;
    ack.manifest_hash = manifest_hash;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        const auto slot = static_cast<std::uint16_t>(i);
        Disk& disk = disks[slots_[i]];
        disk.durable = disk.received;
        ack.disks.push_back({.slot = slot,
                             .received = disk.received,
                             .spooled = disk.durable,
                             .committed = disk.committed,
                             .fence = disk.fence,
                             .base_spooled = {},
                             .base_committed = {}});
        if (raw(disk.fence) != 0) {
            ack.disks.back().base_spooled = new_ordinals_[slot];
        }
    }
    new_ordinals_.clear();
    if (!slots_.empty() && !closed) {
        send(wire::FrameType::ack, wire::machine_slot, wire::encode(ack));
    }
}

void ModelServer::commit() {
    for (auto& [id, disk] : disks) {
        disk.committed = disk.durable;
    }
    for (PointSeen& seen : points) {
        const bool covered = std::ranges::all_of(
            seen.point.cuts, [&](const auto& cut) { return cut.cut <= disks[cut.disk].committed; });
        if (covered && !seen.committed) {
            seen.committed = true;
            if (!closed) {
                send(wire::FrameType::point_status, wire::machine_slot,
                     wire::encode(
                         wire::PointStatus{seen.point.id, wire::PointState::committed, 7, ""}));
            }
        }
    }
    if (!closed) {
        sync();
    }
}

void ModelServer::crash() {
    closed = true;
    for (auto& [id, disk] : disks) {
        disk.lose_received();
    }
}

void ModelServer::take_over() {
    for (auto& [id, disk] : disks) {
        disk.durable = disk.committed;
    }
    crash();
}

ByteVector ModelServer::materialise(const DiskId& id, Seq cut) const {
    return disks.at(id).materialise(cut);
}

}  // namespace cw::agent::test
