#include "agent/qemu/qemu_epochs.h"

#include "base/log.h"

#include <algorithm>
#include <bit>

#include <sys/statvfs.h>
#include <unistd.h>

namespace cw::agent {
namespace {

std::string numbered(std::string_view what, std::size_t slot) {
    return std::string(qemu_prefix) + std::string(what) + "-" + std::to_string(slot);
}

std::string overlay_path(const std::string& directory, std::size_t slot) {
    return directory + "/overlay-" + std::to_string(slot) + ".qcow2";
}

}  // namespace

bool QemuEpochs::begin_frozen(std::string tag) {
    const bool begun = begin_epoch(std::move(tag));
    unsettled_ = begun && running_;
    return begun;
}

void QemuEpochs::settle(pipeline::PointKind kind, std::string hooks) {
    kind_ = kind;
    hooks_ = std::move(hooks);
    unsettled_ = false;
}

bool QemuEpochs::begin_epoch(std::string tag) {
    if (running_) {
        return false;
    }
    if (context_.source.state() != QemuSource::State::attached) {
        outcome_ = fail(Errc::qmp_failed, context_.source.reason());
        return true;
    }
    if (!context_.replicator.consistent()) {
        return false;
    }
    kind_ = pipeline::PointKind::crash;
    tag_ = std::move(tag);
    hooks_.clear();
    unsettled_ = false;
    outcome_.reset();
    running_ = true;
    logged_bytes_ = 0;
    if (const auto made = cut(); !made) {
        end(std::unexpected(made.error()));
    }
    return true;
}

Result<void> QemuEpochs::cut() {
    CW_TRY(check_room());
    CW_TRY(check_sizes());
    QemuMachine& machine = context_.source.machine();
    views_.clear();
    views_.resize(context_.captures.size());
    fences_before_ = fences();
    QemuTransaction transaction;
    context_.source.tracker().cut(transaction);
    for (std::size_t slot = 0; slot < views_.size(); ++slot) {
        const QemuDisk& disk = context_.source.vm_disk(slot);
        const std::string path = overlay_path(context_.directory, slot);
        ::unlink(path.c_str());
        CW_TRY(machine.add_overlay(disk, numbered("view", slot), path));
        transaction.fleece(disk, numbered("view", slot), numbered("epoch", slot));
    }
    cut_time_ = context_.clock.wall();  // Before the cut: nothing older is missing.
    const Nanos before = context_.clock.boot();
    CW_TRY(machine.run(transaction));
    context_.source.tracker().cut_done();
    was_cut_ = true;
    cut_ns_ = context_.clock.boot() - before;
    for (std::size_t slot = 0; slot < views_.size(); ++slot) {
        CW_TRY(open_view(slot));
    }
    std::uint64_t bytes = 0;
    for (const View& view : views_) {
        bytes += view.left.bytes();
    }
    log_info("agent.epoch.cut", {{"took_us", cut_ns_ / ns_per_us}, {"bytes", bytes}});
    return {};
}

Result<void> QemuEpochs::open_view(std::size_t slot) {
    QemuMachine& machine = context_.source.machine();
    View& view = views_[slot];
    const std::string name = numbered("frozen", slot);
    CW_TRY(machine.add_export(name, numbered("view", slot), {}));
    CW_TRY_ASSIGN(view.reader, NbdReader::open({machine.nbd_socket(), name}, context_.clock));
    const QemuDisk& disk = context_.source.vm_disk(slot);
    if (view.reader->size() != disk.size_bytes) {
        return fail(Errc::qmp_failed,
                    "the view of disk '" + context_.source.disk_name(slot) + "' has another size");
    }
    CW_TRY_ASSIGN(view.left, machine.read_bitmap(disk, context_.source.tracker().still(slot)));
    if (!context_.outputs.empty()) {
        view.besides = context_.outputs[slot]->begin(view.left, cut_time_);
    }
    return {};
}

bool QemuEpochs::step() {
    if (!running_) {
        return false;
    }
    const auto logged = log_some();
    if (!logged) {
        end(std::unexpected(logged.error()));
        return true;
    }
    const bool all = std::ranges::all_of(
        views_, [](const View& view) { return view.left.empty() && view.besides.empty(); });
    if (all && unsettled_) {
        return *logged;
    }
    if (all) {
        end(finish());
    }
    return *logged || all;
}

// One super-chunk's run of blocks per call.
Result<bool> QemuEpochs::log_some() {
    CW_TRY(check_still());
    for (std::size_t slot = 0; slot < views_.size(); ++slot) {
        View& view = views_[slot];
        BlockSet& from = view.left.empty() ? view.besides : view.left;
        if (from.empty()) {
            continue;
        }
        const auto [ordinal, mask] = *from.words().begin();
        const auto first = static_cast<std::uint64_t>(std::countr_zero(mask));
        const auto count = static_cast<std::uint64_t>(std::countr_one(mask >> first));
        const std::uint64_t start = ordinal * super_bytes + first * map_block_bytes;
        const std::uint64_t size = view.reader->size();
        CW_ASSERT(start < size);
        buffer_.resize(std::min(count * map_block_bytes, size - start));
        CW_TRY(view.reader->read(start, buffer_));
        if (&from == &view.left) {
            CW_TRY_ASSIGN(const bool logged, context_.captures[slot]->log_block(start, buffer_));
            if (!logged) {
                return false;
            }
            logged_bytes_ += buffer_.size();
        }
        if (!context_.outputs.empty()) {
            context_.outputs[slot]->write(start, buffer_);
        }
        const std::uint64_t done = count == 64 ? ~0ULL : ((1ULL << count) - 1) << first;
        from.remove_mask(ordinal, done);
        return true;
    }
    return false;
}

// What lies beyond the size that the server knows would be in no point.
Result<void> QemuEpochs::check_sizes() {
    resized_ = false;
    CW_TRY_ASSIGN(const auto disks, context_.source.machine().disks());
    for (std::size_t slot = 0; slot < context_.captures.size(); ++slot) {
        const QemuDisk& known = context_.source.vm_disk(slot);
        const auto it = std::ranges::find(disks, known.node, &QemuDisk::node);
        if (it == disks.end() || it->size_bytes != known.size_bytes) {
            resized_ = it != disks.end();
            return fail(Errc::size_mismatch,
                        "disk '" + context_.source.disk_name(slot) +
                            (resized_ ? "' was resized: it is compared again in its new size"
                                      : "' was unplugged: no more points until the agent is "
                                        "started again"));
        }
    }
    return {};
}

Result<void> QemuEpochs::check_still() {
    if (context_.source.state() != QemuSource::State::attached) {
        return fail(Errc::qmp_failed, context_.source.reason());
    }
    if (!context_.replicator.consistent() || fences() != fences_before_) {
        return fail(Errc::resync_required, "the disks lost their place during the epoch");
    }
    return check_room();
}

Result<void> QemuEpochs::check_room() const {
    std::uint64_t wanted = 0;
    for (std::size_t slot = 0; slot < context_.captures.size(); ++slot) {
        wanted += context_.source.vm_disk(slot).size_bytes;
    }
    // Twice as much at the beginning as at any later moment.
    wanted = std::min(wanted, free_bytes_min) / (was_cut_ ? 2 : 1);
    struct statvfs fs{};
    if (::statvfs(context_.directory.c_str(), &fs) == 0 &&
        std::uint64_t{fs.f_bavail} * fs.f_frsize < wanted) {
        return fail(Errc::out_of_budget, context_.directory + " has less than " +
                                             std::to_string(wanted) + " bytes for the overlays");
    }
    return {};
}

std::uint64_t QemuEpochs::fences() const {
    std::uint64_t count = 0;
    for (DiskCapture* const capture : context_.captures) {
        count += capture->position().fences;
    }
    return count;
}

Result<PointId> QemuEpochs::finish() {
    CW_TRY(check_still());
    // A view is whole only while its job lives: a write that it could not preserve ends it.
    CW_TRY_ASSIGN(const auto jobs, context_.source.machine().job_names());
    for (std::size_t slot = 0; slot < views_.size(); ++slot) {
        if (std::ranges::find(jobs, numbered("epoch", slot)) == jobs.end()) {
            return fail(Errc::qmp_failed,
                        "the view of disk '" + context_.source.disk_name(slot) + "' ended early");
        }
    }
    return context_.replicator.make_point(kind_, tag_, hooks_,
                                          Replicator::Moment{cut_time_, cut_ns_});
}

// False: what the logs lack must come again in the next epoch.
bool QemuEpochs::end_outputs() {
    bool noted = true;
    for (HrlOutput* const output : context_.outputs) {
        if (*outcome_) {
            noted = output->commit() && noted;
        } else {
            output->abandon();
        }
    }
    return noted;
}

void QemuEpochs::end(Result<PointId> outcome) {
    running_ = false;
    outcome_ = std::move(outcome);
    log(*outcome_ ? LogLevel::info : LogLevel::warning, "agent.epoch.end",
        {{"bytes", logged_bytes_},
         {"outcome", *outcome_ ? to_string(**outcome_) : to_string(outcome_->error())}});
    views_.clear();
    const bool noted = end_outputs();
    if (context_.source.state() != QemuSource::State::attached) {
        was_cut_ = false;
        return;
    }
    Result<void> cleaned = remove_views();
    if (cleaned && std::exchange(was_cut_, false)) {
        QemuTracker& tracker = context_.source.tracker();
        cleaned = *outcome_ && noted ? tracker.settled() : tracker.give_back();
    }
    if (!cleaned) {
        context_.source.distrust(cleaned.error());
    }
}

Result<void> QemuEpochs::remove_views() {
    QemuMachine& machine = context_.source.machine();
    for (const std::string_view what : {"frozen", "epoch", "view"}) {
        CW_TRY(machine.clean(std::string(qemu_prefix) + std::string(what) + "-"));
    }
    for (std::size_t slot = 0; slot < context_.captures.size(); ++slot) {
        ::unlink(overlay_path(context_.directory, slot).c_str());
    }
    return {};
}

void QemuEpochs::stop() {
    if (running_) {
        end(fail(Errc::cancelled, "the agent stops"));
    }
}

}  // namespace cw::agent
