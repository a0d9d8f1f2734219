#include "appliance/master_target/volume_stage.h"

#include "appliance/master_target/target_welcome.h"
#include "base/log.h"

#include <algorithm>

namespace cw::appliance {
namespace {

using pipeline::Progress;

constexpr std::int64_t retry_ns = 1 * ns_per_ms;  // A full ring or an empty pool has no bell.
constexpr std::int64_t status_pause_ns = 200 * ns_per_ms;
constexpr std::uint64_t piece_bytes = 16 * mib;  // Of a switch, per step.
constexpr std::uint64_t unsynced_bytes_max = 64 * mib;

}  // namespace

VolumeStage::VolumeStage(Context context, std::vector<TargetOptions> targets,
                         FingerprintSecret secret)
    : context_(std::move(context)),
      secret_(secret),
      targets_(std::move(targets), context_.volume, context_.conditions),
      digests_(context_.clock, context_.send_digests, secret),
      window_(context_.reader, context_.readback_slabs),
      outbox_(context_.sink),
      points_(targets_, outbox_) {
    open_targets();
    refresh_status();
}

Progress VolumeStage::step(std::size_t budget) {
    bool worked = outbox_.flush();
    worked |= take_commands();
    worked |= open_targets();
    worked |= context_.reader.poll() > 0;
    worked |= digests_.step([this](const MachineId& machine, const DiskId& disk) {
        return targets_.find(machine, disk);
    });
    worked |= points_.step(context_.clock.boot()) || take_records(budget);
    sync();
    worked |= apply();
    worked |= outbox_.flush();
    note_status(worked);
    if (worked) {
        return Progress::worked;
    }
    // A disk without an event descriptor works inside poll(): it must be called again.
    if (context_.reader.in_flight() > 0 && event_fd() < 0) {
        return Progress::worked;
    }
    return window_.empty() ? Progress::starved : Progress::blocked;
}

Nanos VolumeStage::next_deadline() const {
    const bool held = !outbox_.empty() || window_.waits_silently();
    const Nanos soon = held ? context_.clock.boot() + retry_ns : Nanos{INT64_MAX};
    return std::min({soon, digests_.next_deadline(), targets_.next_open()});
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
    std::vector<TargetStatus> now = targets_.status();
    const std::lock_guard lock(mutex_);
    status_ = std::move(now);
}

bool VolumeStage::open_targets() {
    return targets_.open_due(context_.clock.boot(), [this](const TargetDisk& target) {
        outbox_.end_session(target, "the target is open again");  // Its HELLO was refused.
    });
}

bool VolumeStage::take_commands() {
    std::deque<upload::OpenCommand> opens;
    std::deque<Order> orders;
    {
        const std::lock_guard lock(mutex_);
        opens.swap(opens_);
        if (!points_.busy()) {  // An order is about a point that is held, not about half of one.
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
    pipeline::MachineOpened answer;
    answer.machine = open.machine;
    answer.session = open.session;
    answer.reactor = open.reactor;
    answer.token = open.token;
    answer.fingerprint_secret = secret_;
    for (const pipeline::DiskHello& hello : open.disks) {
        TargetDisk* const target = targets_.find(open.machine, hello);
        const pipeline::DiskWelcome& disk = answer.disks.emplace_back(
            target != nullptr ? target->welcome(hello, command.streams, open.session)
                              : reject_disk(hello, "no [[target]] is configured for this disk"));
        if (target != nullptr) {
            target->name_machine(open.name);
        }
        log_info("target.welcome", {{"machine", open.machine},
                                    {"disk", hello.disk},
                                    {"action", disk.action},
                                    {"durable", disk.durable},
                                    {"reason", disk.reason}});
    }
    answer.points = committed_statuses(targets_, open.machine);
    outbox_.welcome(std::move(answer));
}

Result<void> VolumeStage::carry_out(const TargetOrder& order) {
    TargetDisk* const target = targets_.find(order.machine, order.disk);
    if (target == nullptr) {
        return fail(Errc::not_found,
                    "no target for disk " + order.disk + " of machine " + to_string(order.machine));
    }
    const bool switch_wanted = order.what == TargetOrder::What::switch_;
    const auto done = switch_wanted ? target->begin_switch(order.point) : target->cancel();
    log_info(switch_wanted ? "target.switch" : "target.cancel",
             {{"path", target->options().path},
              {"point", order.point},
              {"outcome", done ? std::string("ok") : to_string(done.error())}});
    if (done) {
        outbox_.end_session(*target,
                            switch_wanted ? "the target is switched" : "cancelled by an operator");
    }
    return done;
}

bool VolumeStage::take_records(std::size_t budget) {
    bool worked = false;
    for (std::size_t i = 0; i < budget && !outbox_.full() && !points_.busy(); ++i) {
        const bool moved = window_.fill() | take_front();
        worked |= moved;
        if (!moved || taken_bytes_ >= unsynced_bytes_max) {
            break;
        }
    }
    return worked;
}

bool VolumeStage::take_front() {
    const pipeline::StoredRecord* const stored = window_.front();
    if (stored == nullptr) {
        return false;
    }
    if (const Error* const error = window_.unreadable()) {
        note_lost(*stored, *error);
    } else {
        take(stored->record);
    }
    taken_.push_back(stored->lsn);
    taken_bytes_ += stored->record.header.data_bytes;
    window_.pop_front();
    return true;
}

void VolumeStage::note_lost(const pipeline::StoredRecord& stored, const Error& error) {
    const pipeline::RecordHeader& header = stored.record.header;
    log_error("target.record_lost", {{"lsn", stored.lsn}, {"error", error}});
    const upload::DamagedRecords lost{
        .key = header.key,
        .first = header.seq,
        .last = advance(header.seq, std::max(header.seq_count, 1U) - 1),
        .evidence = to_string(error)};
    TargetDisk* const target = targets_.find(header.key.machine, header.key.disk);
    if (target != nullptr && raw(lost.last) > 0) {
        target->lose(header, lost.evidence);
    }
    outbox_.lost(lost);
}

void VolumeStage::take(const pipeline::Record& record) {
    const pipeline::RecordHeader& header = record.header;
    if (header.type == pipeline::RecordType::point) {
        points_.take(record);
        return;
    }
    if (header.type == pipeline::RecordType::point_result) {
        for (const auto& target : targets_.all()) {
            if (target->options().machine == header.key.machine) {
                target->take_point_result(record);
            }
        }
        return;
    }
    TargetDisk* const target = targets_.find(header.key.machine, header.key.disk);
    if (target != nullptr && !target->take(record)) {
        outbox_.end_session(*target, "the stream does not continue what the target holds");
    }
}

void VolumeStage::sync() {
    if (taken_.empty()) {
        return;
    }
    for (const auto& target : targets_.all()) {
        if (!target->sync()) {
            outbox_.end_session(*target, "the target failed");
        }
    }
    outbox_.release(taken_);
    taken_.clear();
    taken_bytes_ = 0;
}

bool VolumeStage::apply() {
    bool worked = false;
    for (const auto& target : targets_.all()) {
        if (target->switching()) {
            target->apply_some(piece_bytes, context_.clock.boot());
            worked = true;
        }
    }
    return worked;
}

}  // namespace cw::appliance
