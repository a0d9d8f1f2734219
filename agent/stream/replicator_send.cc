// What is sent next: the log in order, what lies beneath a fence beside it, and the fence's ends.
#include "agent/stream/replicator.h"
#include "base/log.h"

#include <algorithm>

namespace cw::agent {
namespace {

constexpr int records_per_round = 32;
// BASE takes every third turn while the log has something too, so that a busy disk is ready one
// day.
constexpr std::uint64_t base_turn = 3;

}  // namespace

Result<bool> Replicator::send_some() {
    bool worked = false;
    CW_TRY_ASSIGN(worked, send_hash_requests());
    for (int i = 0; i < records_per_round && session_->writable(); ++i) {
        const bool base_first = ++turn_ % base_turn == 0;
        CW_TRY_ASSIGN(bool sent, base_first ? send_base() : send_logged());
        if (!sent) {
            CW_TRY_ASSIGN(sent, base_first ? send_logged() : send_base());
        }
        if (!sent) {
            break;
        }
        worked = true;
    }
    return worked;
}

Result<bool> Replicator::send_logged() {
    OutboxEntry* const entry = context_.outbox.next_unsent();
    if (entry != nullptr && entry->spill.place == SpillState::Place::lost) {
        return fail(Errc::record_corrupt, "the agent's spool lost a record");
    }
    if (entry != nullptr && unsettled_ && entry->point == *unsettled_) {
        return false;
    }
    if (entry == nullptr || !entry->spill.here() || !session_->may_send(entry->record.header)) {
        return false;
    }
    const auto& header = entry->record.header;
    if (header.type == pipeline::RecordType::resync_begin) {
        const auto kind = static_cast<wire::ResyncKind>(header.aux);
        Disk& disk = disks_.at(entry->slot);
        CW_TRY(session_->send(wire::FrameType::resync_begin, entry->slot, header.seq,
                              wire::encode(wire::ResyncBegin{kind, disk.fence_reason}),
                              header.ordinal));
        disk.announced = disk.announced || header.seq == disk.base->fence();
    } else if (header.type == pipeline::RecordType::resync_end) {
        CW_TRY(session_->send(wire::FrameType::resync_end, entry->slot, header.seq, {},
                              header.ordinal));
    } else {
        CW_TRY(session_->send_record(entry->record, entry->slot));
    }
    entry->sent = true;
    if (entry->slot != wire::machine_slot) {
        Disk& disk = disks_.at(entry->slot);
        disk.untouched = false;
        disk.own.sent = std::max(disk.own.sent, entry->last_seq());
    }
    if (header.type == pipeline::RecordType::point) {
        points_.sent(entry->point, session_->link().peer());
    }
    if (entry->spill.place == SpillState::Place::kept &&
        header.type == pipeline::RecordType::write) {
        entry->record.drop_data();  // Its copy in the spool serves a reconnect.
        entry->record.table = {};
        entry->spill.place = SpillState::Place::disk;
    }
    return true;
}

Result<bool> Replicator::send_base() {
    // Credit for a whole super-chunk first: what is read must be sent.
    pipeline::RecordHeader largest;
    largest.type = pipeline::RecordType::base;
    largest.table_bytes = block_bytes;
    largest.data_bytes = super_bytes;
    if (!session_->may_send(largest)) {
        return false;
    }
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        Disk& disk = disks_[(turn_ + i) % disks_.size()];
        if (disk.rejected || !disk.announced || !disk.base->active()) {
            continue;
        }
        CW_TRY_ASSIGN(auto record, disk.base->next());
        if (!record) {
            continue;
        }
        record->header.key = {options_.machine, disk.capture->disk(),
                              disk.capture->position().generation};
        CW_TRY(session_->send_record(*record, disk.capture->slot()));
        return true;
    }
    return false;
}

Result<bool> Replicator::send_hash_requests() {
    bool worked = false;
    for (Disk& disk : disks_) {
        if (disk.rejected || !disk.announced) {
            continue;
        }
        while (const auto request = disk.base->next_request()) {
            const bool upper = std::holds_alternative<wire::SummariesRequest>(*request);
            CW_TRY(session_->send(
                upper ? wire::FrameType::summaries_request : wire::FrameType::hashes_request,
                disk.capture->slot(), Seq{},
                std::visit([](const auto& which) { return wire::encode(which); }, *request)));
            worked = true;
        }
    }
    return worked;
}

// Ends fences whose BASE is spooled, and opens new ones where changes were missed and the queue has
// drained.
Result<void> Replicator::tend_fences() {
    for (Disk& disk : disks_) {
        if (disk.rejected) {
            continue;
        }
        const DiskCapture::Position at = disk.capture->position();
        if (disk.base->active() && !at.logging) {
            disk.base->stop();  // Something was missed: this fence cannot be ended.
        }
        if (disk.base->finished() && !hold_fences_) {
            const auto progress = disk.base->progress();
            EndedFence ended{.fence = disk.base->fence(), .end = {}, .held = disk.base->held()};
            const auto end =
                disk.capture->close_fence(static_cast<std::uint32_t>(ended.held.size()));
            disk.base->stop();
            if (end) {
                ended.end = *end;
                disk.ended.push_back(std::move(ended));
            }
            log_info("agent.fence.close", {{"disk", disk.name},
                                           {"closed", end.has_value()},
                                           {"sent_bytes", progress.sent_bytes},
                                           {"digest_bytes", disk.base->digest_bytes()}});
        }
        CW_TRY_ASSIGN(const bool waits, awaits_order(disk, at));
        if (waits) {
            continue;
        }
        const bool wanted = !at.logging || (disk.capture->fence_open() && !disk.base->active());
        if (wanted && context_.outbox.next_unsent() == nullptr &&
            context_.pool.free_count() * 2 >= context_.pool.count() && context_.outbox.room()) {
            CW_TRY_ASSIGN(auto fence, disk.capture->resume_logging(leap_of(disk)));
            note_leap(disk, fence);
            disk.announced = false;
            disk.fence_phase = "catching up";
            if (!at.logging) {
                disk.fence_reason = std::string(at.missed_why) + ": what was noted is read";
            }
            read_missed(disk, std::move(fence));
        }
        disk.phase = disk.base->active() ? disk.fence_phase
                     : at.logging        ? std::string_view("protected")
                                         : std::string_view("degraded");
    }
    return {};
}

void Replicator::read_missed(Disk& disk, DiskCapture::Fence fence) {
    const Seq seq = fence.seq;
    const bool exact = fence.exact.has_value();
    if (exact) {
        disk.base->start_exact(seq, std::move(*fence.exact));
    } else {
        disk.base->start(seq, fence.blocks, false, secret_);
    }
    log_info("agent.fence.open", {{"disk", disk.name},
                                  {"fence", seq},
                                  {"bytes", disk.base->progress().total_bytes},
                                  {"exact", exact}});
}

Result<Seq> Replicator::begin_bare_fence(std::size_t slot) {
    CW_ASSERT(hold_fences_);
    Disk& disk = disks_.at(slot);
    CW_TRY_ASSIGN(const auto fence, disk.capture->resume_logging());
    disk.announced = false;
    disk.base->start(fence.seq, {}, false, secret_);
    return fence.seq;
}

void Replicator::tend_open_records() {
    // What cannot be sent yet may as well grow: each closed record holds a slab, however small it
    // is, and an outage of seconds under small writes would use up the memory of hours.
    const bool waits = link_state_ != LinkState::live || context_.outbox.next_unsent() != nullptr;
    if (stopping_ || !waits) {
        close_open_records(stopping_ ? 0 : options_.linger_ns);
    }
}

void Replicator::close_open_records(std::int64_t older_than_ns) {
    for (Disk& disk : disks_) {
        wake_at(disk.capture->close_older_than(older_than_ns));
    }
}

}  // namespace cw::agent
