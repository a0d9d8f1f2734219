// What the server says, and what follows from it.
#include "agent/stream/replicator.h"
#include "base/log.h"

#include <algorithm>
#include <utility>

namespace cw::agent {
namespace {

constexpr int frames_per_round = 64;
// A record that is refused this often in one session is wrong here, not on the way.
constexpr unsigned naks_max = 3;

}  // namespace

Result<bool> Replicator::receive() {
    bool worked = false;
    for (int i = 0; i < frames_per_round; ++i) {
        CW_TRY_ASSIGN(const auto frame, session_->next());
        if (!frame) {
            break;
        }
        worked = true;
        CW_TRY(handle(*frame));
    }
    return worked;
}

Result<void> Replicator::handle(const InFrame& frame) {
    using wire::FrameType;
    if (frame.header.type == FrameType::error) {
        CW_TRY_ASSIGN(const auto message, wire::decode<wire::ErrorMessage>(frame.payload));
        return take_error(message);
    }
    if (link_state_ == LinkState::greeting) {
        if (frame.header.type != FrameType::welcome) {
            return fail(Errc::frame_malformed, "expected WELCOME");
        }
        CW_TRY_ASSIGN(const auto message, wire::decode<wire::Welcome>(frame.payload));
        return welcome(message);
    }
    if (frame.header.type != FrameType::point_status) {
        drop_lost_points();
    }
    switch (frame.header.type) {
        case FrameType::ack: {
            CW_TRY_ASSIGN(const auto ack, wire::decode<wire::Ack>(frame.payload));
            return take_ack(ack);
        }
        case FrameType::credit: {
            CW_TRY_ASSIGN(const auto credit, wire::decode<wire::Credit>(frame.payload));
            session_->grant(credit.cumulative_bytes);
            return {};
        }
        case FrameType::nak: {
            CW_TRY_ASSIGN(const auto nak, wire::decode<wire::Nak>(frame.payload));
            return take_nak(nak);
        }
        case FrameType::point_status: {
            CW_TRY_ASSIGN(const auto status, wire::decode<wire::PointStatus>(frame.payload));
            points_.answered(status);
            context_.outbox.point_done(status.id);
            return {};
        }
        case FrameType::hashes:
            return take_digests<wire::Hashes>(frame);
        case FrameType::summaries:
            return take_digests<wire::Summaries>(frame);
        case FrameType::policy: {
            CW_TRY_ASSIGN(policy_, wire::decode<wire::Policy>(frame.payload));
            log_info("agent.policy", {{"interval_ms", policy_->interval_ms},
                                      {"app_interval_ms", policy_->app_interval_ms}});
            return {};
        }
        case FrameType::ping:
            return session_->send(FrameType::pong, wire::machine_slot, Seq{}, frame.payload);
        case FrameType::pong:
            return {};
        case FrameType::goodbye:
            return fail(Errc::connection_lost, "the server said goodbye");
        default:
            return fail(Errc::frame_malformed,
                        "the server sent " + std::string(wire::name_of(frame.header.type)));
    }
}

template <typename Digests>
Result<void> Replicator::take_digests(const InFrame& frame) {
    CW_TRY_ASSIGN(const auto digests, wire::decode<Digests>(frame.payload));
    if (frame.header.disk_slot >= disks_.size()) {
        return fail(Errc::frame_malformed, "digests of an unknown slot");
    }
    return disks_[frame.header.disk_slot].base->take(digests);
}

Result<void> Replicator::take_error(const wire::ErrorMessage& message) {
    const auto code = errc_from_number(message.code);
    retry_after_s_ = message.retry_after_s;
    return fail(code.value_or(Errc::connection_lost),
                "the server says: " + message.detail +
                    (code ? "" : " (code " + std::to_string(message.code) + ")"));
}

// One disk's trouble is not the others': they go on in this session.
Result<void> Replicator::take_nak(const wire::Nak& nak) {
    if (nak.slot >= disks_.size()) {
        return fail(Errc::frame_malformed, "NAK of an unknown slot");
    }
    Disk& disk = disks_[nak.slot];
    if (disk.rejected) {
        return {};  // What was under way when it was rejected.
    }
    log_warning("agent.nak", {{"disk", disk.name},
                              {"reason", nak.reason},
                              {"expected", nak.expected},
                              {"detail", nak.detail}});
    using enum wire::NakReason;
    if (nak.reason == quota || nak.reason == conflict || nak.reason == size) {
        reject(disk, nak.detail);
        return {};
    }
    disk.naks = nak.expected == disk.nak_expected ? disk.naks + 1 : 1;
    disk.nak_expected = nak.expected;
    // Told that it lacks BASE beneath an end, the server is asked for a new fence.
    disk.begin_anew = disk.begin_anew || (nak.reason == generation &&
                                          std::ranges::find(disk.ended, nak.expected,
                                                            &EndedFence::end) != disk.ended.end());
    const bool fence_lost = disk.base->active() && disk.base->fence() >= nak.expected;
    const bool again = nak.reason != generation && !fence_lost && disk.naks <= naks_max;
    if (again && context_.outbox.resend(nak.slot, nak.expected)) {
        return {};
    }
    // Reconnecting sends again from what the server really has: the one way that is always right.
    return fail(Errc::seq_gap, "NAK " + std::to_string(static_cast<int>(nak.reason)) +
                                   " of disk '" + disk.name + "': " + nak.detail);
}

void Replicator::reject(Disk& disk, std::string reason) {
    disk.rejected = true;
    disk.reason = std::move(reason);
    disk.phase = "rejected";
    disk.base->stop();
    disk.capture->abandon();
    drop_vanished_points();
    disk.ended.clear();
    disk.begin_anew = false;
}

void Replicator::forget_ended(Disk& disk, Seq spooled) {
    while (!disk.ended.empty() && disk.ended.front().end <= spooled) {
        disk.ended.pop_front();
    }
}

// Whether an end that is to be sent again would be one over a hole: the server went back in time.
bool Replicator::lacks_base(const Disk& disk, const wire::Welcome::Disk& answer) {
    return std::ranges::any_of(disk.ended, [&](const EndedFence& ended) {
        const bool same = answer.resync_open && answer.fence == ended.fence;
        return !std::ranges::all_of(ended.held, [&](std::uint32_t ordinal) {
            return same && held_in(answer.base_durable, ordinal);
        });
    });
}

Result<void> Replicator::welcome(const wire::Welcome& welcome) {
    if (welcome.disks.size() != disks_.size()) {
        return fail(Errc::frame_malformed, "WELCOME answers another number of disks");
    }
    session_->welcomed(welcome.session, welcome.credit_bytes);
    secret_ = welcome.fingerprint_secret;
    server_features_ = welcome.features;
    std::vector<Seq> durable;
    durable.reserve(welcome.disks.size());
    for (const auto& answer : welcome.disks) {
        durable.push_back(answer.durable);
    }
    context_.outbox.rewind(durable);
    for (std::size_t slot = 0; slot < disks_.size(); ++slot) {
        disks_[slot].base->new_session((server_features_ & wire::feature_summaries) != 0);
        CW_TRY(welcome_disk(disks_[slot], welcome.disks[slot]));
    }
    doubt_points(welcome);
    link_state_ = LinkState::live;
    last_error_.reset();
    live_since_ = context_.clock.boot();
    mode_.session_began();
    log_info("agent.session.live", {{"server", session_->link().peer()},
                                    {"session", welcome.session},
                                    {"credit", welcome.credit_bytes}});
    return {};
}

// Those that were to be sent after records which are given up.
void Replicator::drop_vanished_points() {
    points_.drop_if(
        [this](const TrackedPoint& point) {
            return point.server.empty() && !context_.outbox.holds(point.id);
        },
        "what it stood on was given up before it was sent");
}

// Those that only a server held which is not this one any more: it cannot publish them.
void Replicator::doubt_points(const wire::Welcome& welcome) {
    drop_vanished_points();
    doubtful_.clear();
    const std::string here = session_->link().peer();
    for (const TrackedPoint& point : points_.all()) {
        const auto reaches = [&](const pipeline::DiskCut& cut) {
            for (std::size_t slot = 0; slot < disks_.size(); ++slot) {
                if (disks_[slot].capture->disk() == cut.disk) {
                    return welcome.disks[slot].generation != cut.generation ||
                           welcome.disks[slot].durable >= cut.cut;
                }
            }
            return true;
        };
        if (!context_.outbox.holds(point.id) &&
            (point.server != here || !std::ranges::all_of(point.cuts, reaches))) {
            doubtful_.push_back(point.id);
        }
    }
}

// Nothing more is said of what was before the session: the server would have told of them.
void Replicator::drop_lost_points() {
    const auto doubtful = std::exchange(doubtful_, {});
    if (!doubtful.empty()) {
        points_.drop_if(
            [&](const TrackedPoint& point) {
                return std::ranges::find(doubtful, point.id) != doubtful.end();
            },
            "takeover: the server that held it lost the machine before it was in the vault");
    }
}

Result<void> Replicator::welcome_disk(Disk& disk, const wire::Welcome::Disk& answer) {
    disk.reason = answer.reason;
    disk.rejected = answer.action == wire::DiskAction::reject;
    disk.spooled = answer.durable;
    disk.committed = answer.committed;
    log_info("agent.disk.welcome", {{"disk", disk.name},
                                    {"action", answer.action},
                                    {"durable", answer.durable},
                                    {"reason", answer.reason}});
    disk.nak_expected = Seq{};
    disk.order_asked.reset();
    if (disk.rejected) {
        reject(disk, answer.reason);
        return {};
    }
    CW_TRY(check_own(disk, answer));
    disk.untouched = true;
    forget_ended(disk, answer.durable);
    if (answer.action == wire::DiskAction::continue_ && lacks_base(disk, answer)) {
        disk.begin_anew = true;
        return fail(Errc::resync_required,
                    "disk '" + disk.name + "': the server lacks what lay beneath an ended fence");
    }
    CW_TRY_ASSIGN(const bool resumed, resume_fence(disk, answer));
    if (resumed) {
        return disk.capture->committed(answer.committed);
    }
    // What was recorded while nobody listened is a backlog like any other.
    const bool waits = answer.action == wire::DiskAction::catch_up && !answer.resync_open &&
                       is_left_to_server(disk.capture->position().recorded_bytes, disk);
    if (answer.action != wire::DiskAction::continue_ && !waits) {
        return open_fence(disk, answer);
    }
    if (waits) {
        disk.capture->abandon();  // What is logged follows sequences that the server lacks.
        return disk.capture->committed(answer.committed);
    }
    disk.begin_anew = false;
    const Seq first = held_from(disk);
    if (raw(first) != raw(answer.durable) + 1) {
        // Neither side may invent what lies between: compare everything.
        disk.provable = false;
        return fail(Errc::generation_mismatch, "disk '" + disk.name +
                                                   "': the server continues after " +
                                                   std::to_string(raw(answer.durable)) +
                                                   ", held from " + std::to_string(raw(first)));
    }
    disk.provable = true;
    if (disk.capture->fence_open()) {
        // The server lost sight of the fence: the blocks beneath it are read again under a new one.
        CW_TRY_ASSIGN(auto fence, disk.capture->resume_logging());
        disk.fence_reason = answer.reason;
        read_missed(disk, std::move(fence));
    }
    return disk.capture->committed(answer.committed);
}

// True if the fence that was open before goes on in this session.
Result<bool> Replicator::resume_fence(Disk& disk, const wire::Welcome::Disk& answer) {
    if (disk.begin_anew || leap_refused(disk) || !disk.capture->fence_open() ||
        !disk.base->active() || disk.capture->position().generation != answer.generation) {
        return false;
    }
    const Seq fence = disk.base->fence(), first = held_from(disk);
    if (raw(first) != raw(answer.durable) + 1) {
        return false;
    }
    if (answer.resync_open && answer.fence == fence) {
        disk.base->resume(answer.base_durable);
        disk.announced = true;
        return true;
    }
    // RESYNC_BEGIN never arrived and is still held: it goes out again first. Where the server wants
    // a new fence at once, only if nothing comes before it and it covers all that may be missing.
    const bool in_turn =
        answer.action == wire::DiskAction::continue_ ||
        (context_.outbox.oldest(disk.capture->slot()) == fence && !disk.capture->resumes());
    if (first <= fence && in_turn && !answer.resync_open) {
        disk.base->resume({});
        return true;
    }
    return false;
}

Result<void> Replicator::open_fence(Disk& disk, const wire::Welcome::Disk& answer) {
    const bool catch_up = answer.action == wire::DiskAction::catch_up;
    bool compare = answer.action == wire::DiskAction::resync || answer.resync_open;
    if (!catch_up) {
        CW_TRY(disk.capture->forget_history());
        disk.own = OwnSequences{.sent = answer.durable};  // Of the new history nothing yet.
        const bool leaps = leap_of(disk) > 0;
        CW_TRY(context_.state.update([&](AgentState& state) {
            DiskState& known = state.disks.at(disk.capture->slot());
            known.generation = answer.generation;
            known.own.clear();
            if (leaps) {
                known.own.push_back({known.limit, known.limit});
            }
        }));
    } else if (!disk.provable) {
        return fail(Errc::resync_required, "the server asks for a catch-up that is not covered");
    }
    const Seq at = catch_up && !answer.resync_open ? disk.hello_next : next(answer.durable);
    const auto kind = catch_up                                    ? wire::ResyncKind::catch_up
                      : answer.action == wire::DiskAction::resync ? wire::ResyncKind::resync
                                                                  : wire::ResyncKind::initial;
    CW_TRY_ASSIGN(auto fence, disk.capture->open_fence(kind, answer.generation, at, leap_of(disk)));
    note_leap(disk, fence);
    disk.fence_reason = answer.reason;
    // An agent that was killed in a resync has lost sight of what was equal: a large part of a
    // large disk is sooner compared than sent.
    const std::uint64_t blocks = fence.blocks.bytes(), size = disk.capture->image().size();
    compare =
        compare || (catch_up && blocks >= options_.compare_bytes_min && blocks >= size - size / 2);
    disk.provable = true;
    disk.ended.clear();
    disk.begin_anew = false;
    disk.fence_phase = catch_up  ? "catching up"
                       : compare ? "resynchronising"
                                 : "initial synchronisation";
    disk.base->start(fence.seq, fence.blocks, compare, secret_);
    log_info("agent.fence.open", {{"disk", disk.name},
                                  {"fence", fence.seq},
                                  {"bytes", fence.blocks.bytes()},
                                  {"compare", compare}});
    return {};
}

Result<void> Replicator::take_ack(const wire::Ack& ack) {
    context_.connector.served();
    retry_.succeeded();  // Not WELCOME alone: a session that dies at once must not be hammered.
    for (const wire::Ack::Disk& news : ack.disks) {
        if (news.slot >= disks_.size()) {
            return fail(Errc::frame_malformed, "ACK of an unknown slot");
        }
        Disk& disk = disks_[news.slot];
        if (news.spooled >= disk.capture->position().next) {
            return fail(Errc::frame_malformed, "ACK of a sequence that was never sent");
        }
        disk.spooled = std::max(disk.spooled, news.spooled);
        context_.outbox.spooled(news.slot, disk.spooled);
        forget_ended(disk, disk.spooled);
        disk.base->acked(news.fence, news.base_spooled);
        if (news.committed > disk.committed) {
            disk.committed = news.committed;
            CW_TRY(disk.capture->committed(news.committed));
        }
    }
    witness_.take(ack.manifest_number, ack.manifest_hash);
    return {};
}

}  // namespace cw::agent
