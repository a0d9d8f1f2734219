// Which of the sequences that a server holds are this agent's own: own_sequences.h.
#include "agent/stream/replicator.h"
#include "base/log.h"

namespace cw::agent {

// A disk that goes on exactly where it was begins its own sequences at once, before anything is
// logged: with a fence that has nothing beneath it.
void Replicator::begin_own(Disk& disk) {
    const DiskCapture::Position at = disk.capture->position();
    disk.own.sent = Seq{raw(at.next) - 1};
    const std::uint64_t leap = random_leap(context_.random, at.next);
    if (!at.logging || leap == 0) {
        return;
    }
    const auto fence = disk.capture->resume_logging(leap);
    if (!fence) {
        // Without a reservation nothing may be logged: a fence follows when there is one.
        log_error("agent.own.not_begun", {{"disk", disk.name}, {"error", fence.error()}});
        disk.capture->abandon();
        return;
    }
    note_leap(disk, *fence);
    CW_ASSERT(disk.capture->close_fence(0).has_value());
}

std::uint64_t Replicator::leap_of(const Disk& disk) {
    const bool taken = (server_features_ & wire::feature_own_sequences) != 0 && disk.untouched;
    return taken && !disk.own.begun ? random_leap(context_.random, disk.capture->position().next)
                                    : 0;
}

void Replicator::note_leap(Disk& disk, const DiskCapture::Fence& fence) {
    if (next(fence.after) == fence.seq) {
        return;
    }
    disk.own.begun = true;
    disk.own.after = fence.after;
    disk.own.first = fence.seq;
    log_info("agent.own.begun",
             {{"disk", disk.name}, {"after", fence.after}, {"first", fence.seq}});
}

// The oldest that is still held, or the next.
Seq Replicator::held_from(const Disk& disk) {
    return disk.own.held_from(
        context_.outbox.oldest(disk.capture->slot()).value_or(disk.hello_next));
}

// The oldest record that is held cannot be placed by this server.
bool Replicator::leap_refused(const Disk& disk) {
    const auto oldest = context_.outbox.oldest(disk.capture->slot());
    return oldest && disk.own.leaps_at(*oldest) &&
           (server_features_ & wire::feature_own_sequences) == 0;
}

// Whether the history may go on in this session.
Result<void> Replicator::check_own(Disk& disk, const wire::Welcome::Disk& answer) {
    const auto at = disk.capture->position();
    if (!disk.provable || answer.generation != at.generation) {
        return {};
    }
    const bool sent = answer.durable <= disk.own.sent || next(answer.durable) == disk.own.first;
    if (!sent || !may_be_own(context_.state.get().disks.at(disk.capture->slot()), answer.durable)) {
        disk.provable = false;
        log_error("agent.own.foreign", {{"disk", disk.name},
                                        {"generation", answer.generation},
                                        {"durable", answer.durable},
                                        {"sent", disk.own.sent}});
        return fail(Errc::generation_mismatch,
                    "disk '" + disk.name + "': the server holds sequence " +
                        std::to_string(raw(answer.durable)) +
                        ", which this agent never sent: another machine uses its identity, or "
                        "it was restored from a copy. The disk is compared under a new history");
    }
    if (answer.action == wire::DiskAction::continue_ && leap_refused(disk)) {
        disk.begin_anew = true;
        return fail(Errc::resync_required,
                    "disk '" + disk.name + "': this server takes own sequences only after a gap");
    }
    return {};
}

}  // namespace cw::agent
