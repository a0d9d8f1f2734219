#include "agent/stream/replicator.h"

#include "base/crash_point.h"
#include "base/log.h"
#include "pipeline/generation.h"

#include <algorithm>
#include <utility>

namespace cw::agent {
namespace {

constexpr std::int64_t ping_after_ns = 15 * ns_per_s, dead_after_ns = 60 * ns_per_s,
                       goodbye_ns = 5 * ns_per_s;
constexpr std::uint64_t ping_token = 0x70696e67;

void put_point(pipeline::Record& record, const pipeline::Point& point) {
    const ByteVector payload = pipeline::encode_point(point);
    record.table = pipeline::TableBuffer(align_up(payload.size(), block_bytes));
    std::copy(payload.begin(), payload.end(), record.table.bytes().begin());
    record.header.table_bytes = static_cast<std::uint32_t>(record.table.bytes().size());
    record.header.table_crc = crc32c(record.table.bytes());
}

}  // namespace

std::string_view name_of(LinkState state) noexcept {
    switch (state) {
        case LinkState::waiting:
            return "waiting";
        case LinkState::connecting:
            return "connecting";
        case LinkState::greeting:
            return "greeting";
        case LinkState::live:
            return "live";
        case LinkState::critical:
            return "critical";
        case LinkState::ended:
            return "ended";
    }
    return "?";
}

Replicator::Replicator(Options options, Context context)
    : options_(std::move(options)),
      context_(context),
      retry_(context.random),
      witness_(context.state),
      // Clones of one machine count the same starts.
      boot_counter_(context.state.get().boot_counter << 32 | context.random.next_u64() >> 32) {}

void Replicator::add_disk(DiskCapture& capture, std::string name, bool provable) {
    CW_ASSERT(capture.slot() == disks_.size() && disks_.size() < wire::disks_max);
    Disk disk;
    disk.capture = &capture;
    disk.name = std::move(name);
    disk.base = std::make_unique<BaseSender>(capture.image(), context_.base_pool, context_.clock);
    disk.provable = provable;
    begin_own(disks_.emplace_back(std::move(disk)));
}

bool Replicator::step() {
    CW_ASSERT(!disks_.empty());
    deadline_ = Nanos{INT64_MAX};
    tend_open_records();
    wake_at(witness_.tend(context_.clock.boot()));
    bool worked = step_link();
    if (session_ == nullptr) {
        tend_mode();
        return worked;
    }
    const auto round = [&]() -> Result<bool> {
        CW_TRY_ASSIGN(bool did, receive());
        if (link_state_ == LinkState::live) {
            CW_TRY(tend_fences());
            CW_TRY_ASSIGN(const bool sent, send_some());
            did = did || sent;
            tend_mode();
        }
        CW_TRY(keep_alive());
        CW_TRY(end_politely());
        CW_TRY(session_->flush());
        return did;
    };
    const auto done = round();
    if (!done) {
        lose(done.error());
        return true;
    }
    return *done || worked;
}

// Everything about having a connection or not.
bool Replicator::step_link() {
    const Nanos now = context_.clock.boot();
    if (stopping_ && (session_ == nullptr || now - stop_by_ >= 0)) {
        const bool first = link_state_ != LinkState::ended;
        session_.reset();
        link_state_ = LinkState::ended;
        return first;
    }
    if (link_state_ == LinkState::waiting) {
        if (now - retry_at_ < 0) {
            wake_at(retry_at_);
            return false;
        }
        link_state_ = LinkState::connecting;
        context_.connector.begin();
    }
    if (link_state_ != LinkState::connecting) {
        return false;
    }
    auto outcome = context_.connector.poll();
    if (!outcome) {
        return false;
    }
    if (*outcome) {
        connected(std::move(**outcome));
    } else {
        lose(outcome->error());
    }
    return true;
}

void Replicator::connected(std::unique_ptr<Link> link) {
    session_ = std::make_unique<ServerSession>(std::move(link), context_.clock);
    link_state_ = LinkState::greeting;
    pinged_ = context_.clock.boot();
    if (auto sent = greet(); !sent) {
        lose(sent.error());
    }
}

Result<void> Replicator::greet() {
    wire::Hello hello;
    hello.features = options_.features;
    hello.software = options_.software;
    hello.machine_name = options_.machine_name;
    hello.boot_counter = boot_counter_;
    hello.witness_number = witness_.number();
    hello.witness_hash = witness_.hash();
    context_.outbox.drop_lost();
    for (Disk& disk : disks_) {
        const DiskCapture::Position at = disk.capture->prepare_hello();
        disk.hello_next = at.next;
        disk.announced = false;
        // What it lacks beneath an ended fence cannot be sent again in order: the live disk is
        // beyond it. Without anything held the server asks for a new fence over all of it.
        const Seq oldest = disk.begin_anew ? at.next : held_from(disk);
        hello.disks.push_back(
            {.id = disk.capture->disk(),
             .size_bytes = disk.capture->image().size(),
             .generation = disk.provable ? at.generation : pipeline::without_history(at.generation),
             .next_seq = at.next,
             .oldest_held = oldest,
             .catch_up_possible = disk.provable,
             .name = disk.name});
    }
    return session_->send(wire::FrameType::hello, wire::machine_slot, Seq{}, wire::encode(hello));
}

void Replicator::lose(const Error& error) {
    log(goodbye_sent_ ? LogLevel::info : LogLevel::warning, "agent.session.lost",
        {{"error", error}});
    if (session_) {
        sent_before_ += session_->sent_payload();
    }
    session_.reset();
    if (link_state_ == LinkState::live && context_.clock.boot() - live_since_ >= dead_after_ns) {
        retry_.succeeded();
        context_.connector.served();
    }
    if (action_of(error.code) == Action::fenced) {
        context_.connector.sent_away();
    }
    last_error_ = error;
    if (stopping_) {
        link_state_ = LinkState::ended;
        return;
    }
    // Fenced: the server lost a race for the machine. It, or the one that won, is asked again.
    const bool grave = class_of(error.code) == ErrorClass::unrecoverable &&
                       action_of(error.code) != Action::fenced;
    if (grave) {
        log_error("agent.critical", {{"error", error}});
        link_state_ = LinkState::critical;  // Never retried: a person is asked. Writers go on.
        return;
    }
    link_state_ = LinkState::waiting;
    retry_at_ =
        context_.clock.boot() + retry_.next_pause(std::exchange(retry_after_s_, std::int64_t{0}));
    wake_at(retry_at_);
}

Result<void> Replicator::keep_alive() {
    const Nanos now = context_.clock.boot(), heard = session_->last_heard();
    if (now - heard >= dead_after_ns) {
        return fail(Errc::connection_lost, session_->link().peer() + " is silent for 60 s");
    }
    if (link_state_ == LinkState::live && now - heard >= ping_after_ns &&
        now - pinged_ >= ping_after_ns) {
        pinged_ = now;
        CW_TRY(session_->send(wire::FrameType::ping, wire::machine_slot, Seq{},
                              wire::encode(wire::Ping{ping_token})));
    }
    // Before WELCOME nothing is pinged: a moment in the past would make the loop spin until then.
    wake_at(link_state_ == LinkState::live ? std::max(heard, pinged_) + ping_after_ns
                                           : heard + dead_after_ns);
    return {};
}

void Replicator::begin_stop(bool planned, std::int64_t limit_ns) {
    if (stopping_) {
        return;
    }
    stopping_ = true;
    planned_ = planned;
    stop_by_ = context_.clock.boot() + limit_ns;
}

Result<void> Replicator::end_politely() {
    if (!stopping_ || link_state_ != LinkState::live) {
        return {};
    }
    wake_at(stop_by_);
    if (goodbye_sent_ || (!all_spooled() && stop_by_ - context_.clock.boot() > goodbye_ns)) {
        return {};
    }
    wire::Goodbye goodbye;
    goodbye.planned_failover = planned_;
    for (Disk& disk : disks_) {
        if (!disk.rejected) {
            const DiskCapture::Position at = disk.capture->position();
            goodbye.disks.push_back({disk.capture->slot(), Seq{raw(at.next) - 1}});
        }
    }
    goodbye_sent_ = true;
    stop_by_ = std::min(stop_by_, context_.clock.boot() + goodbye_ns);
    return session_->send(wire::FrameType::goodbye, wire::machine_slot, Seq{},
                          wire::encode(goodbye));
}

bool Replicator::all_spooled() {
    close_open_records(0);
    return context_.outbox.empty();
}

Result<PointId> Replicator::make_point(pipeline::PointKind kind, std::string tag, std::string hooks,
                                       std::optional<Moment> of, const GroupId& group) {
    CW_ASSERT(tag.size() <= pipeline::point_tag_bytes_max);
    if (!context_.outbox.room()) {
        return fail(Errc::out_of_budget, "the queue is full");
    }
    if (std::ranges::all_of(disks_, &Disk::rejected)) {
        return fail(Errc::authz_denied, "the server rejects every disk: " + disks_[0].reason);
    }
    pipeline::Point point;
    point.id = make_id<PointId>(context_.random);
    OutboxEntry entry;
    entry.cuts.resize(disks_.size());
    Standstill still(context_.clock, context_.gate, point_pause_max_ns);
    CW_TRY(hold_all(still));  // One instant for all disks.
    point.source_time = of ? of->at : context_.clock.wall();
    for (Disk& disk : disks_) {
        if (!disk.rejected) {
            point.cuts.push_back(disk.capture->cut_locked());
            entry.cuts[disk.capture->slot()] = point.cuts.back().cut;
        }
    }
    std::ranges::sort(point.cuts, {}, &pipeline::DiskCut::disk);
    point.kind = kind;
    point.group = group;
    point.provisional = !group.is_nil();
    point.tag = tag;
    point.hook_results = std::move(hooks);
    CW_CRASH_POINT("agent.point.held");
    put_point(entry.record, point);
    entry.record.header.key.machine = options_.machine;
    entry.record.header.type = pipeline::RecordType::point;
    entry.slot = wire::machine_slot;
    entry.point = point.id;
    context_.outbox.push(std::move(entry));
    const std::int64_t paused_ns = still.release();
    CW_CRASH_POINT("agent.point.queued");
    pauses_.cut(point.id, of ? of->pause_ns : paused_ns);
    points_.made({.id = point.id,
                  .kind = kind,
                  .tag = std::move(tag),
                  .source_time = point.source_time,
                  .cuts = point.cuts,
                  .reason = {}});
    return point.id;
}

void Replicator::settle_point(pipeline::PointKind kind, const std::string& hooks) {
    CW_ASSERT(unsettled_);
    const PointId id = *std::exchange(unsettled_, std::nullopt);
    context_.outbox.collect();
    for (OutboxEntry& entry : context_.outbox.entries()) {
        if (entry.record.header.type != pipeline::RecordType::point || entry.point != id) {
            continue;
        }
        auto point = pipeline::decode_point(entry.record.table.bytes());
        CW_ASSERT(point && !entry.sent);
        point->kind = kind;
        point->hook_results = hooks;
        context_.outbox.change(entry,
                               [&](OutboxEntry& changed) { put_point(changed.record, *point); });
        points_.settled(id, kind);
        return;
    }
    // It was dropped meanwhile, as the tracker says.
}

void Replicator::decide_point(const PointId& id, const GroupId& group, bool committed) {
    const ByteVector payload = pipeline::encode_point_result({id, group, committed});
    OutboxEntry entry;
    entry.record.table = pipeline::TableBuffer(align_up(payload.size(), block_bytes));
    std::copy(payload.begin(), payload.end(), entry.record.table.bytes().begin());
    pipeline::RecordHeader& header = entry.record.header;
    header.key.machine = options_.machine;
    header.type = pipeline::RecordType::point_result;
    header.table_bytes = static_cast<std::uint32_t>(entry.record.table.bytes().size());
    header.table_crc = crc32c(entry.record.table.bytes());
    entry.slot = wire::machine_slot;
    entry.point = id;
    context_.outbox.push(std::move(entry));
}

bool Replicator::consistent() {
    return !std::ranges::all_of(disks_, &Disk::rejected) &&
           std::ranges::all_of(disks_, [](Disk& disk) {
               const auto lock = disk.capture->lock();
               return disk.rejected || disk.capture->consistent_locked();
           });
}

bool Replicator::point_would_repeat() {
    const TrackedPoint* const last = points_.newest();
    if (last == nullptr || last->phase == PointPhase::committed ||
        last->phase == PointPhase::dropped) {
        return false;
    }
    return std::ranges::all_of(disks_, [&](Disk& disk) {
        const auto cut =
            std::ranges::find(last->cuts, disk.capture->disk(), &pipeline::DiskCut::disk);
        return disk.rejected ||
               (cut != last->cuts.end() && raw(cut->cut) + 1 == raw(disk.capture->position().next));
    });
}

Replicator::Status Replicator::status() {
    Status out;
    out.link = link_state_;
    out.peer = session_ ? session_->link().peer() : "";
    out.last_error = last_error_;
    out.sent_bytes = sent_before_ + (session_ ? session_->sent_payload() : 0);
    out.queued_bytes = context_.outbox.payload_bytes();
    out.mode = sum_mode();
    if (const auto committed = points_.newest_committed()) {
        out.rpo_ms = (raw(context_.clock.wall()) - raw(*committed)) / 1000;
    }
    for (Disk& disk : disks_) {
        const auto at = disk.capture->position();
        DiskStatus status{.name = disk.name,
                          .id = disk.capture->disk(),
                          .phase = std::string(disk.phase),
                          .reason = disk.base->active() ? disk.fence_reason : disk.reason,
                          .generation = at.generation,
                          .next = at.next,
                          .spooled = disk.spooled,
                          .committed = disk.committed,
                          .base = disk.base->progress(),
                          .mode = at.mode,
                          .missed_bytes = at.missed_bytes,
                          .uncommitted_bytes = at.uncommitted_bytes,
                          .missed_ranges = at.missed_ranges,
                          .fence_read_bytes = disk.base->read_bytes()};
        out.disks.push_back(std::move(status));
    }
    return out;
}

}  // namespace cw::agent
