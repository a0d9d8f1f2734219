#include "appliance/volume_stage.h"

#include "base/log.h"

#include <algorithm>

namespace cw::appliance {
namespace {

using pipeline::Progress;
using pipeline::Record;
using pipeline::RecordType;

constexpr std::int64_t reopen_ns = 10 * ns_per_s;
constexpr std::int64_t retry_ns = 1 * ns_per_ms;  // A full ring or an empty pool has no bell.
constexpr std::int64_t status_pause_ns = 200 * ns_per_ms;
constexpr std::uint64_t piece_bytes = 16 * mib;  // Of a merge or switch, per step.
constexpr std::uint64_t unsynced_bytes_max = 64 * mib;
constexpr std::size_t outgoing_max = 256;

bool lacks_payload(const Record& record) noexcept {
    return !record.has_data() || (record.header.table_bytes > 0 && record.table.empty());
}

}  // namespace

VolumeStage::VolumeStage(Context context, std::vector<TargetOptions> targets,
                         FingerprintSecret secret)
    : context_(std::move(context)),
      secret_(secret),
      digests_(context_.clock, context_.send_digests, secret) {
    CW_ASSERT(context_.readback_slabs.count() >= readback_slabs_min);
    for (TargetOptions& target : targets) {
        targets_.push_back(
            std::make_unique<TargetDisk>(std::move(target), context_.volume, context_.conditions));
    }
    open_targets();
    refresh_status();
}

Progress VolumeStage::step(std::size_t budget) {
    bool worked = flush();
    worked |= take_commands();
    worked |= open_targets();
    worked |= context_.reader.poll() > 0;
    worked |= digests_.step(
        [this](const MachineId& machine, const DiskId& disk) { return find(machine, disk); });
    worked |= merge() || take_records(budget);
    sync();
    worked |= apply();
    worked |= flush();
    note_status(worked);
    if (worked) {
        return Progress::worked;
    }
    // A disk without an event descriptor works inside poll(): it must be called again.
    if (context_.reader.in_flight() > 0 && event_fd() < 0) {
        return Progress::worked;
    }
    return window_.empty() && stored_.empty() ? Progress::starved : Progress::blocked;
}

bool VolumeStage::take_records(std::size_t budget) {
    bool worked = false;
    for (std::size_t i = 0; i < budget && committed_.size() < outgoing_max && !merging(); ++i) {
        const bool moved = fill_window() | take_front();
        worked |= moved;
        if (!moved || taken_bytes_ >= unsynced_bytes_max) {
            break;
        }
    }
    return worked;
}

Nanos VolumeStage::next_deadline() const {
    const bool held = !release_.lsns.empty() || !opened_.empty() || !committed_.empty() ||
                      !ended_.empty() || (!window_.empty() && context_.reader.in_flight() == 0);
    const Nanos soon = held ? context_.clock.boot() + retry_ns : Nanos{INT64_MAX};
    return std::min(
        {soon, digests_.next_deadline(), open_due_ == Nanos{} ? Nanos{INT64_MAX} : open_due_});
}

void VolumeStage::post(upload::OpenCommand command) {
    {
        const std::lock_guard lock(mutex_);
        opens_.push_back(std::move(command));
    }
    context_.doorbell.ring();
}

std::future<Result<void>> VolumeStage::ask(TargetOrder order) {
    std::future<Result<void>> answer;
    {
        const std::lock_guard lock(mutex_);
        orders_.push_back({std::move(order), {}});
        answer = orders_.back().done.get_future();
    }
    context_.doorbell.ring();
    return answer;
}

void VolumeStage::ask_digests(const ingest::DigestRequest& request) {
    digests_.ask(request);
    context_.doorbell.ring();
}

std::vector<TargetStatus> VolumeStage::status() const {
    const std::lock_guard lock(mutex_);
    return status_;
}

// Often enough for people; at once when there is nothing else to do.
void VolumeStage::note_status(bool worked) {
    status_stale_ |= worked;
    const Nanos now = context_.clock.boot();
    if (status_stale_ && (!worked || now - refreshed_ >= status_pause_ns)) {
        refresh_status();
        refreshed_ = now;
    }
}

void VolumeStage::refresh_status() {
    status_stale_ = false;
    std::vector<TargetStatus> now;
    for (const auto& target : targets_) {
        now.push_back(target->status());
    }
    const std::lock_guard lock(mutex_);
    status_ = std::move(now);
}

TargetDisk* VolumeStage::find(const MachineId& machine, const DiskId& disk) {
    const auto found = std::ranges::find_if(
        targets_, [&](const auto& target) { return target->is_for(machine, disk); });
    return found == targets_.end() ? nullptr : found->get();
}

// What failed is tried again: the device may have come back.
bool VolumeStage::open_targets() {
    const Nanos now = context_.clock.boot();
    if (open_due_ != Nanos{} && now - open_due_ < 0) {
        return false;
    }
    bool opened = false, missing = false;
    for (const auto& target : targets_) {
        const bool before = target->trouble().has_value();
        const bool open = target->open();
        missing |= !open;
        if (open && before) {
            opened = true;
            end_session(*target, "the target is open again");  // Its HELLO was refused.
        }
    }
    // Looked at again even when all is well: one may fail later.
    open_due_ = now + reopen_ns;
    return opened || missing;
}

bool VolumeStage::take_commands() {
    std::deque<upload::OpenCommand> opens;
    std::deque<Order> orders;
    {
        const std::lock_guard lock(mutex_);
        opens.swap(opens_);
        if (!merging()) {  // An order is about a point that is held, not about half of one.
            orders.swap(orders_);
        }
    }
    for (const upload::OpenCommand& command : opens) {
        welcome(command);
    }
    for (Order& order : orders) {
        order.done.set_value(carry_out(order.order));
    }
    if (!orders.empty()) {
        refresh_status();
    }
    return !opens.empty() || !orders.empty();
}

void VolumeStage::welcome(const upload::OpenCommand& command) {
    const pipeline::OpenMachine& open = command.open;
    reactors_.insert_or_assign(open.machine, open.reactor);
    pipeline::MachineOpened answer;
    answer.machine = open.machine;
    answer.session = open.session;
    answer.reactor = open.reactor;
    answer.token = open.token;
    answer.fingerprint_secret = secret_;
    for (const pipeline::DiskHello& hello : open.disks) {
        const auto target = std::ranges::find_if(
            targets_, [&](const auto& one) { return one->meets(open.machine, hello); });
        pipeline::DiskWelcome& disk = answer.disks.emplace_back();
        if (target != targets_.end()) {
            disk = (*target)->welcome(hello, command.streams, open.session);
        } else {
            disk.disk = hello.disk;
            disk.generation = hello.generation;
            disk.reason = "no [[target]] is configured for this disk";
        }
        log_info("target.welcome", {{"machine", open.machine},
                                    {"disk", hello.disk},
                                    {"action", disk.action},
                                    {"durable", disk.durable},
                                    {"reason", disk.reason}});
    }
    opened_.push_back(std::move(answer));
}

Result<void> VolumeStage::carry_out(const TargetOrder& order) {
    const auto found = std::ranges::find_if(targets_, [&](const auto& target) {
        return target->options().machine == order.machine &&
               (target->options().disk == order.disk ||
                (parse_id<DiskId>(order.disk) &&
                 target->is_for(order.machine, *parse_id<DiskId>(order.disk))));
    });
    if (found == targets_.end()) {
        return fail(Errc::not_found,
                    "no target for disk " + order.disk + " of machine " + to_string(order.machine));
    }
    TargetDisk& target = **found;
    const bool switch_wanted = order.what == TargetOrder::What::switch_;
    const auto done = switch_wanted ? target.begin_switch(order.point) : target.cancel();
    log_info(switch_wanted ? "target.switch" : "target.cancel",
             {{"path", target.options().path},
              {"point", order.point},
              {"outcome", done ? std::string("ok") : to_string(done.error())}});
    if (done) {
        end_session(target, switch_wanted ? "the target is switched" : "cancelled by an operator");
    }
    return done;
}

bool VolumeStage::fill_window() {
    bool worked = false;
    while (window_.size() < records_ahead) {
        pipeline::StoredRecord stored;
        if (!stored_.try_pop(stored)) {
            break;
        }
        window_.push_back(std::make_unique<Slot>());
        window_.back()->stored = std::move(stored);
        worked = true;
    }
    for (const auto& slot : window_) {
        if (lacks_payload(slot->stored.record) && !slot->reading && !slot->read) {
            if (!start_read(*slot)) {
                break;  // In order: the front must never wait for those behind it.
            }
            worked = true;
        }
    }
    return worked;
}

bool VolumeStage::start_read(Slot& slot) {
    Record& record = slot.stored.record;
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        if (!record.slabs[i]) {
            record.slabs[i] = context_.readback_slabs.try_take();
        }
        if (!record.slabs[i]) {
            record.drop_data();
            return false;
        }
    }
    slot.reading = true;
    context_.reader.read(slot.stored.lsn, record, [&slot](Result<void> outcome) {
        slot.read = std::move(outcome);
        slot.reading = false;
    });
    return true;
}

bool VolumeStage::take_front() {
    if (window_.empty()) {
        return false;
    }
    Slot& slot = *window_.front();
    if (slot.reading || (lacks_payload(slot.stored.record) && !slot.read)) {
        return false;
    }
    if (slot.read && !*slot.read) {
        const pipeline::RecordHeader& header = slot.stored.record.header;
        // The hole shows as a gap at the next record or point of this disk.
        ended_.push_back({.key = header.key,
                          .first = header.seq,
                          .last = advance(header.seq, std::max(header.seq_count, 1U) - 1),
                          .evidence = to_string(slot.read->error())});
        log_error("target.record_lost", {{"lsn", slot.stored.lsn}, {"error", slot.read->error()}});
    } else {
        take(slot.stored.record);
    }
    taken_.push_back(slot.stored.lsn);
    taken_bytes_ += slot.stored.record.header.data_bytes;
    window_.pop_front();
    return true;
}

void VolumeStage::take(Record& record) {
    const pipeline::RecordHeader& header = record.header;
    if (header.type == RecordType::point) {
        take_point(record);
        return;
    }
    TargetDisk* const target = find(header.key.machine, header.key.disk);
    if (target != nullptr && !target->take(record)) {
        end_session(*target, "the stream does not continue what the target holds");
    }
}

void VolumeStage::take_point(Record& record) {
    const auto point = pipeline::decode_point(record.table.bytes());
    if (!point) {
        log_warning("target.point.malformed", {{"machine", record.header.key.machine}});
        return;
    }
    if (auto status = begin_point(record, *point)) {
        tell(record.header.key.machine, *point, std::move(*status));
    }
}

void VolumeStage::tell(const MachineId& machine, const pipeline::Point& point,
                       pipeline::PointStatus status) {
    log_info("target.point", {{"machine", machine},
                              {"point", point.id},
                              {"committed", status.state == pipeline::PointState::committed},
                              {"reason", status.reason}});
    const auto reactor = reactors_.find(machine);
    if (reactor == reactors_.end() || status.state == pipeline::PointState::durable) {
        return;  // No session since the start: the next HELLO is told what is committed.
    }
    Outgoing out{.reactor = reactor->second, .committed = {}};
    out.committed.machine = machine;
    out.committed.points.push_back(std::move(status));
    for (const pipeline::DiskCut& cut : point.cuts) {
        const TargetDisk* const target = find(machine, cut.disk);
        if (target != nullptr && raw(target->committed()) > 0) {
            out.committed.disks.push_back({.disk = cut.disk,
                                           .generation = target->generation(),
                                           .committed = target->committed(),
                                           .fence = {},
                                           .base_ordinals = {}});
        }
    }
    committed_.push_back(std::move(out));
}

// All of the machine's targets or none, as far as can be known before: a point is one moment of all
// disks. `durable` means that there is nothing new to tell.
std::optional<pipeline::PointStatus> VolumeStage::begin_point(const Record& record,
                                                              const pipeline::Point& point) {
    pipeline::PointStatus status{
        .id = point.id, .state = pipeline::PointState::dropped, .manifest_number = 0, .reason = {}};
    const MachineId machine = record.header.key.machine;
    std::vector<TargetDisk*> fitting;
    std::size_t held = 0, old = 0;
    for (const pipeline::DiskCut& cut : point.cuts) {
        TargetDisk* const target = find(machine, cut.disk);
        if (target == nullptr) {
            continue;
        }
        const auto fit = target->fits(point.id, cut);
        if (!fit) {
            status.reason = to_string(fit.error());
            if (fit.error().code == Errc::seq_gap) {
                end_session(*target, status.reason);
            }
            return status;
        }
        held += *fit == TargetDisk::PointFit::held ? 1U : 0U;
        old += *fit == TargetDisk::PointFit::old ? 1U : 0U;
        if (*fit == TargetDisk::PointFit::fits) {
            fitting.push_back(target);
        }
    }
    if (old > 0) {
        status.state = pipeline::PointState::durable;
        return status;
    }
    if (fitting.empty()) {
        status.state = held > 0 ? pipeline::PointState::committed : status.state;
        status.reason = held > 0 ? "" : "no disk of the machine has a target here";
        return status;
    }
    for (TargetDisk* const target : fitting) {
        if (const auto taken = target->take_point(record); !taken) {
            status.reason = to_string(taken.error());
            end_session(*target, status.reason);
            return status;
        }
    }
    point_ = PointUnderWay{machine, point, std::move(fitting)};
    return std::nullopt;
}

bool VolumeStage::merging() const noexcept {
    return point_ || std::ranges::any_of(targets_, [](const auto& one) { return one->merging(); });
}

// True: merges are under way, or have just ended.
bool VolumeStage::merge() {
    bool worked = point_.has_value();
    for (const auto& target : targets_) {
        if (target->merging()) {
            target->merge_some(piece_bytes, context_.clock.boot());
            worked = true;
        }
    }
    if (point_ &&
        std::ranges::none_of(targets_, [](const auto& target) { return target->merging(); })) {
        finish_point();
    }
    return worked;
}

void VolumeStage::finish_point() {
    pipeline::PointStatus status{.id = point_->point.id,
                                 .state = pipeline::PointState::committed,
                                 .manifest_number = 0,
                                 .reason = {}};
    for (const TargetDisk* const target : point_->targets) {
        if (!target->point() || target->point()->id != status.id) {
            status.state = pipeline::PointState::dropped;
            status.reason = target->trouble() ? to_string(*target->trouble()) : "not merged";
            end_session(*target, status.reason);
        }
    }
    tell(point_->machine, point_->point, std::move(status));
    point_.reset();
}

void VolumeStage::sync() {
    if (taken_.empty()) {
        return;
    }
    for (const auto& target : targets_) {
        if (!target->sync()) {
            end_session(*target, "the target failed");
        }
    }
    release_.lsns.insert(release_.lsns.end(), taken_.begin(), taken_.end());
    taken_.clear();
    taken_bytes_ = 0;
}

bool VolumeStage::apply() {
    bool worked = false;
    for (const auto& target : targets_) {
        if (target->switching()) {
            target->apply_some(piece_bytes, context_.clock.boot());
            worked = true;
        }
    }
    return worked;
}

bool VolumeStage::flush() {
    bool worked = false;
    const auto offer = [&](auto& queue, auto&& push) {
        while (!queue.empty() && push(queue.front())) {
            queue.pop_front();
            worked = true;
        }
    };
    offer(opened_, [&](auto& opened) { return context_.sink.opened(opened); });
    offer(committed_,
          [&](Outgoing& out) { return context_.sink.committed(out.reactor, out.committed); });
    offer(ended_, [&](auto& ended) { return context_.sink.damaged(ended); });
    if (!release_.lsns.empty() && context_.sink.release(release_)) {
        release_ = {};
        worked = true;
    }
    return worked;
}

// The next HELLO is answered with what the target needs.
void VolumeStage::end_session(const TargetDisk& target, const std::string& why) {
    log_info("target.session_ended", {{"path", target.options().path}, {"why", why}});
    ended_.push_back({.key = {.machine = target.options().machine, .disk = {}, .generation = {}},
                      .first = {},
                      .last = {},
                      .evidence = why});
}

}  // namespace cw::appliance
