#include "tests/agent/model_server.h"

#include <algorithm>

namespace cw::agent::test {
void ModelServer::open_session() {
    ++sessions;
    closed = false;
    in_.clear();
    out.clear();
    taken_ = 0;
    new_ordinals_.clear();
    stopped_.clear();
}

void ModelServer::receive(Bytes bytes) {
    if (bytes.empty()) {
        return;
    }
    in_.insert(in_.end(), bytes.begin(), bytes.end());
    std::size_t at = 0;
    while (in_.size() - at >= wire::frame_header_bytes && !closed) {
        const auto header =
            wire::decode_frame_header(Bytes(in_).subspan(at, wire::frame_header_bytes));
        if (!header) {
            violate(to_string(header.error()));
            closed = true;
            return;
        }
        if (in_.size() - at - wire::frame_header_bytes < header->payload_bytes) {
            break;
        }
        const Bytes payload =
            Bytes(in_).subspan(at + wire::frame_header_bytes, header->payload_bytes);
        if (!wire::check_table(*header, payload.first(header->table_bytes))) {
            violate("table CRC");
        }
        handle(*header, payload);
        at += wire::frame_header_bytes + header->payload_bytes;
    }
    in_.erase(in_.begin(), in_.begin() + static_cast<long>(std::min(at, in_.size())));
    const bool held = hold_fences && std::ranges::any_of(disks, [](const auto& disk) {
                          return raw(disk.second.fence) != 0;
                      });
    if (auto_sync && !closed && !held) {
        sync();
    }
    if (auto_commit && !closed && !held) {
        commit();
    }
}

void ModelServer::handle(const wire::FrameHeader& header, Bytes payload) {
    using wire::FrameType;
    if (header.type != FrameType::hello && raw(header.session) != session_) {
        violate("frame of another session");
        return;
    }
    switch (header.type) {
        case FrameType::hello:
            return on_hello(payload);
        case FrameType::write:
            return on_write(header, payload);
        case FrameType::base:
            return on_base(header, payload);
        case FrameType::point:
            return on_point(payload);
        case FrameType::point_result: {
            const auto result = pipeline::decode_point_result(payload);
            if (!result || std::ranges::none_of(points, [&](const PointSeen& seen) {
                    return seen.point.id == result->id && seen.point.provisional &&
                           seen.point.group == result->group;
                })) {
                return violate("POINT_RESULT of no point of its group");
            }
            results[result->id] = result->committed;
            return;
        }
        case FrameType::resync_begin:
        case FrameType::resync_end:
            return on_resync(header, payload);
        case FrameType::hashes_request:
            return on_hashes_request(header, payload);
        case FrameType::summaries_request:
            return on_summaries_request(header, payload);
        case FrameType::resync_required:
            ++times_asked;
            asked[slots_.at(header.disk_slot)] = *wire::decode<wire::ResyncRequired>(payload);
            return;
        case FrameType::mode:
            modes.push_back(wire::decode<wire::Mode>(payload)->mode);
            return unread.clear();
        case FrameType::extents:
            unread[header.disk_slot] = wire::decode<wire::Extents>(payload).value();
            return;
        case FrameType::ping:
            return send(FrameType::pong, wire::machine_slot, payload);
        case FrameType::goodbye:
            goodbye = true;
            sync();
            send(FrameType::goodbye, wire::machine_slot, wire::encode(wire::Goodbye{}));
            closed = true;
            return;
        default:
            violate("unexpected " + std::string(wire::name_of(header.type)));
    }
}

void ModelServer::on_hello(Bytes payload) {
    const auto hello = wire::decode<wire::Hello>(payload);
    if (!hello) {
        return violate(to_string(hello.error()));
    }
    if (mute) {
        return;
    }
    if (refuse_with) {
        send(wire::FrameType::error, wire::machine_slot,
             wire::encode(
                 wire::ErrorMessage{static_cast<std::uint16_t>(*refuse_with), refuse_detail, 0}));
        closed = true;
        return;
    }
    boot_counter = hello->boot_counter;
    witness_number = hello->witness_number;
    witness_hash = hello->witness_hash;
    wire::Welcome welcome;
    welcome.session = SessionId{++session_};
    welcome.credit_bytes = window;
    welcome.fingerprint_secret = secret;
    welcome.features = features;
    slots_.clear();
    for (const auto& said : hello->disks) {
        slots_.push_back(said.id);
        welcome_disk(said, welcome.disks.emplace_back());
    }
    send(wire::FrameType::welcome, wire::machine_slot, wire::encode(welcome));
    if (policy && (hello->features & wire::feature_policy) != 0) {
        say_policy(*policy);
    }
}

void ModelServer::say_policy(const wire::Policy& what) {
    send(wire::FrameType::policy, wire::machine_slot, wire::encode(what));
}

void ModelServer::welcome_disk(const wire::Hello::Disk& said, wire::Welcome::Disk& answer) {
    if (reject_all) {
        answer.action = wire::DiskAction::reject;
        answer.reason = "told to";
        return;
    }
    const bool known = disks.contains(said.id);
    Disk& disk = disks[said.id];
    disk.size = said.size_bytes;
    disk.named = said.generation;
    disk.must_begin = disk.untouched = true;
    disk.begin_at = next(disk.durable);
    if (!known) {
        answer.action = wire::DiskAction::initial;
        disk.generation = first_generation;
    } else if (said.generation != disk.generation || (order_resyncs && asked.erase(said.id) > 0)) {
        answer.action = wire::DiskAction::resync;
        answer.reason = "generation";
        disk.begin_generation();
        disk.begin_at = next(disk.durable);
    } else if (raw(said.oldest_held) <= raw(disk.durable) + 1 && disk.durable < said.next_seq) {
        answer.action = wire::DiskAction::continue_;
        disk.must_begin = false;
    } else if (said.catch_up_possible) {
        answer.action = wire::DiskAction::catch_up;
        if (raw(disk.fence) == 0) {
            disk.begin_at = said.next_seq;
        }
    } else {
        answer.action = wire::DiskAction::resync;
        disk.generation = Generation{raw(disk.generation) + 1};
    }
    if (!welcome_reason.empty()) {
        answer.reason = welcome_reason;
    }
    answer.generation = disk.generation;
    answer.durable = disk.durable;
    answer.committed = disk.committed;
    answer.resync_open = raw(disk.fence) != 0;
    answer.fence = disk.fence;
    if (answer.resync_open) {
        answer.base_durable.resize(disk.size / (4 * mib) / 8 + 1);
        for (const std::uint32_t ordinal : disk.ordinals) {
            answer.base_durable[ordinal / 8] |= std::byte{1} << (ordinal % 8);
        }
    }
}

void ModelServer::send(wire::FrameType type, std::uint16_t slot, Bytes payload) {
    wire::FrameHeader header;
    header.type = type;
    header.disk_slot = slot;
    header.session = SessionId{type == wire::FrameType::error ? 0 : session_};
    const ByteVector frame = wire::encode_control_frame(header, payload);
    out.insert(out.end(), frame.begin(), frame.end());
}

void ModelServer::grant() {
    send(wire::FrameType::credit, wire::machine_slot, wire::encode(wire::Credit{taken_ + window}));
}

}  // namespace cw::agent::test
