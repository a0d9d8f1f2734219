#include "agent/qemu/qemu_source.h"

#include "base/log.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr std::int64_t rotate_every_ns = 30 * ns_per_s, look_every_ns = ns_per_s,
                       look_patience_ns = ns_per_s;

std::string numbered(std::string_view what, std::size_t slot) {
    return std::string(qemu_prefix) + std::string(what) + "-" + std::to_string(slot);
}

}  // namespace

Result<std::unique_ptr<QemuSource>> QemuSource::open(Options options, Clock& clock) {
    std::unique_ptr<QemuSource> source(new QemuSource(std::move(options), clock));
    CW_TRY_ASSIGN(source->machine_, QemuMachine::connect(source->options_.qmp_socket, clock));
    QemuMachine& machine = *source->machine_;
    CW_TRY(machine.clean());
    CW_TRY_ASSIGN(auto found, machine.disks());
    CW_TRY(source->choose(std::move(found)));
    CW_TRY(machine.serve_nbd(source->options_.nbd_socket, source->options_.nbd_served));
    for (std::size_t slot = 0; slot < source->disks_.size(); ++slot) {
        CW_TRY(machine.add_export(numbered("live", slot), source->disks_[slot].vm.node, {}));
    }
    return source;
}

QemuSource::~QemuSource() = default;

Result<void> QemuSource::choose(std::vector<QemuDisk> found) {
    const auto take = [&](QemuDisk vm, std::string name) {
        const std::size_t slot = disks_.size();
        disks_.push_back({std::move(vm), std::move(name), {}, numbered("mirror", slot)});
    };
    if (options_.wanted.empty()) {
        for (QemuDisk& vm : found) {
            const std::string name = vm.name;
            take(std::move(vm), name);
        }
        return disks_.empty() ? fail(Errc::not_found, "the machine has no writable disk")
                              : Result<void>{};
    }
    for (const std::string& name : options_.wanted) {
        const auto it = std::ranges::find_if(found, [&](const QemuDisk& vm) {
            return std::ranges::find(vm.aliases, name) != vm.aliases.end();
        });
        if (it == found.end()) {
            std::string have;
            for (const QemuDisk& vm : found) {
                have += (have.empty() ? "" : ", ") + vm.name;
            }
            return fail(Errc::not_found,
                        "the machine has no writable disk '" + name + "'; it has: " + have);
        }
        take(*it, name);
    }
    return {};
}

const std::string& QemuSource::disk_name(std::size_t slot) const {
    return disks_.at(slot).name;
}

bool QemuSource::continuous(std::size_t slot, const std::string& token) const {
    return QemuTracker::continuous(disks_.at(slot).vm, token);
}

Result<std::unique_ptr<BlockImage>> QemuSource::image(std::size_t slot, const std::string& token) {
    Disk& disk = disks_.at(slot);
    disk.token = token;
    CW_TRY_ASSIGN(auto reader,
                  NbdReader::open({machine_->nbd_socket(), numbered("live", slot)}, clock_));
    if (reader.size() != disk.vm.size_bytes) {
        return fail(Errc::size_mismatch, "disk '" + disk.name + "' is resized just now");
    }
    return std::make_unique<QemuImage>(std::move(reader), "qemu " + token);
}

Result<void> QemuSource::attach(const std::vector<DiskCapture*>& captures,
                                const std::string& capture_socket,
                                const std::vector<bool>& provable) {
    CW_ASSERT(captures.size() == disks_.size() && provable.size() == disks_.size());
    std::vector<QemuTracker::Disk> tracked;
    tracked.reserve(disks_.size());
    for (const Disk& disk : disks_) {
        tracked.push_back({disk.vm, disk.token});
    }
    tracker_ = std::make_unique<QemuTracker>(*machine_, std::move(tracked));
    if (options_.mode == Mode::data) {
        mirrored_ = true;
        for (const Disk& disk : disks_) {
            CW_TRY(machine_->mirror(disk.vm, disk.job, capture_socket, disk.name));
        }
    }
    // After the mirror: whatever the old bitmaps lack, it brings.
    CW_TRY_ASSIGN(const auto recorded, tracker_->begin());
    for (std::size_t slot = 0; slot < disks_.size(); ++slot) {
        if (provable[slot]) {
            CW_TRY(captures[slot]->miss(recorded[slot]));
            log_info("agent.qemu.recorded",
                     {{"disk", disks_[slot].name}, {"bytes", recorded[slot].bytes()}});
        }
    }
    CW_TRY(tracker_->settled());
    rotate_at_ = clock_.boot() + rotate_every_ns;
    log_info("agent.mode", {{"mode", options_.mode == Mode::data ? "DATA" : "EPOCH"},
                            {"reason", "attached to " + options_.qmp_socket}});
    return {};
}

void QemuSource::stop_capture() {
    if (state_ != State::attached || !std::exchange(mirrored_, false)) {
        return;
    }
    for (const Disk& disk : disks_) {
        auto ended = machine_->end_job(disk.job, false);
        if (ended) {
            ended = machine_->remove_node(disk.job);
        }
        if (!ended) {
            log_warning("agent.qemu.detach", {{"disk", disk.name}, {"error", ended.error()}});
        }
    }
}

Result<void> QemuSource::watch_writers() {
    return mirrored_ ? tracker_->rotate() : Result<void>{};
}

Result<std::uint64_t> QemuSource::written_bytes() {
    CW_TRY_ASSIGN(const auto found, machine_->disks());
    std::uint64_t written = 0;
    for (std::size_t slot = 0; slot < disks_.size(); ++slot) {
        const auto vm = std::ranges::find(found, disks_[slot].vm.node, &QemuDisk::node);
        if (vm == found.end()) {
            return fail(Errc::qmp_failed, "disk '" + disks_[slot].name + "' is gone");
        }
        const auto bitmap =
            std::ranges::find(vm->bitmaps, tracker_->recording(slot), &QemuBitmap::name);
        if (bitmap == vm->bitmaps.end()) {
            return fail(Errc::qmp_failed, "disk '" + disks_[slot].name + "' has lost its bitmap");
        }
        written += bitmap->dirty_bytes;
    }
    return written;
}

void QemuSource::detach() {
    stop_capture();
    if (state_ != State::attached) {
        return;
    }
    remove_exports();
    end(State::gone, "detached");
}

void QemuSource::remove_exports() {
    for (std::size_t slot = 0; slot < disks_.size(); ++slot) {
        if (const auto removed = machine_->remove_export(numbered("live", slot)); !removed) {
            log_warning("agent.qemu.detach",
                        {{"disk", disks_[slot].name}, {"error", removed.error()}});
        }
    }
}

Result<void> QemuSource::resize(std::size_t slot, std::uint64_t bytes) {
    if (state_ != State::attached) {
        return fail(Errc::qmp_failed, reason_);
    }
    const Disk& disk = disks_.at(slot);
    stop_capture();
    remove_exports();
    auto resized = machine_->resize(disk.vm, bytes);
    end(State::detached, "disk '" + disk.name + "' " +
                             (resized ? "has " + std::to_string(bytes) + " bytes now"
                                      : "keeps its size: " + to_string(resized.error())));
    return resized;
}

bool QemuSource::step() {
    if (state_ == State::gone) {
        look_for_machine();
        return false;
    }
    if (state_ != State::attached) {
        return false;
    }
    if (const auto pumped = machine_->pump(); !pumped) {
        end(State::gone, to_string(pumped.error()));
        return true;
    }
    bool worked = false;
    while (const auto event = machine_->next_event()) {
        take_event(*event);
        worked = true;
    }
    if (state_ == State::attached && mirrored_ && clock_.boot() - rotate_at_ >= 0) {
        rotate_at_ = clock_.boot() + rotate_every_ns;
        if (const auto rotated = tracker_->rotate(); !rotated) {
            end(State::detached, to_string(rotated.error()));
        }
    }
    return worked;
}

void QemuSource::take_event(const QmpEvent& event) {
    if (!mirrored_ ||
        (event.name != "BLOCK_JOB_COMPLETED" && event.name != "BLOCK_JOB_CANCELLED")) {
        return;
    }
    const json data = json::parse(event.data, nullptr, false);
    if (!data.is_object() || !data.contains("device") || !data["device"].is_string()) {
        return;
    }
    const std::string job = data["device"].get<std::string>();
    const auto disk = std::ranges::find(disks_, job, &Disk::job);
    if (disk != disks_.end()) {
        end(State::detached, "the mirror of disk '" + disk->name + "' ended: " +
                                 (data.contains("error") && data["error"].is_string()
                                      ? data["error"].get<std::string>()
                                      : "without an error"));
    }
}

void QemuSource::end(State state, std::string reason) {
    state_ = state;
    reason_ = std::move(reason);
    mirrored_ = false;
    look_at_ = clock_.boot() + look_every_ns;
    log_warning("agent.mode",
                {{"mode", state == State::gone ? "OFF" : "BITMAP"}, {"reason", reason_}});
}

// The same machine may be started again.
void QemuSource::look_for_machine() {
    if (clock_.boot() - look_at_ < 0) {
        return;
    }
    look_at_ = clock_.boot() + look_every_ns;
    if (QmpClient::connect(options_.qmp_socket, QmpClient::Dialect::monitor, clock_,
                           look_patience_ns)) {
        end(State::detached, "the machine is back");
    }
}

}  // namespace cw::agent
