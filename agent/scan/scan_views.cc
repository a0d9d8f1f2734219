// What a scan reads: LVM snapshots of the disks, reflink clones, or the disks themselves while they
// are held.
#include "agent/scan/scan_source.h"
#include "base/log.h"

#include <algorithm>

#include <sys/stat.h>

namespace cw::agent {

// lvcreate freezes a file system that lies on the volume itself, and cannot if it is frozen.
void ScanSource::hold_still() {
    if (!freezer_.can_freeze()) {
        take_views();
        return;
    }
    freezer_.begin_freeze(!snapping_ || !lies_on_disk(options_.mount));
    phase_ = Phase::freezing;
}

bool ScanSource::lies_on_disk(const std::string& mount) const {
    struct stat at{};
    return !mount.empty() && ::stat(mount.c_str(), &at) == 0 &&
           std::ranges::any_of(disks_, [&](const Disk& disk) {
               struct stat st{};
               return ::stat(disk.path.c_str(), &st) == 0 && S_ISBLK(st.st_mode) &&
                      st.st_rdev == at.st_dev;
           });
}

// Snapshots are made one after the other: of several disks they are of one moment only if somebody
// stays held meanwhile.
std::optional<Error> ScanSource::snapshots_hindered() const {
    if (snapshots_->error()) {
        return snapshots_->error();
    }
    if (disks_.size() > 1 && !freezer_.has_hooks() &&
        (!freezer_.can_freeze() || lies_on_disk(options_.mount))) {
        return Error{Errc::snapshot_failed,
                     "snapshots of several disks are of one moment only with --pre-hook"};
    }
    return std::nullopt;
}

bool ScanSource::step_preparing() {
    if (snapshots_->step()) {
        return false;
    }
    if (const auto hindered = snapshots_hindered()) {
        fail_snapshots(*hindered);
    } else {
        hold_still();
    }
    return true;
}

// Clones where there are any: then nothing stays frozen while it is read.
void ScanSource::take_views() {
    held_ = freezer_.can_freeze();
    still_ = held_;
    clones_.clear();
    viewed_at_.reset();
    if (const auto checked = check_disks(); !checked) {
        return abandon(checked.error());
    }
    if (snapping_) {
        still_ = held_ || disks_.size() == 1;
        snapshots_->begin_create();
        phase_ = Phase::creating;
        return;
    }
    if (options_.try_clones) {
        for (const Disk& disk : disks_) {
            auto clone = clone_image(disk.path, disk.clone_path);
            if (!clone || (*clone)->size() != disk.capture->image().size()) {
                clones_.clear();
                break;
            }
            clones_.push_back(std::move(*clone));
        }
    }
    if (const auto taken = take_hints(); !taken) {
        return abandon(taken.error());
    }
    const bool cloned = !clones_.empty();
    if (cloned) {
        viewed_at_ = replicator_.now();
    }
    still_ = held_ || (cloned && disks_.size() == 1);
    phase_ = Phase::scanning;
    if (held_ && cloned) {
        freezer_.begin_thaw();
        phase_ = Phase::thawing;
    }
}

bool ScanSource::step_creating() {
    const bool late = held_ && freezer_.expired();
    if (snapshots_->step() && !late) {
        return false;
    }
    viewed_at_ = replicator_.now();
    if (late || snapshots_->error()) {
        fail_snapshots(late ? Error{Errc::snapshot_failed, "it took longer than --hook-timeout"}
                            : *snapshots_->error());
    } else if (held_) {
        freezer_.begin_thaw();
        phase_ = Phase::thawing;
    } else {
        snapshots_->begin_find();
        phase_ = Phase::finding;
    }
    return true;
}

bool ScanSource::step_finding() {
    if (snapshots_->step()) {
        return false;
    }
    if (snapshots_->error()) {
        fail_snapshots(*snapshots_->error());
        return true;
    }
    auto views = snapshots_->open_views();
    if (!views) {
        fail_snapshots(views.error());
        return true;
    }
    clones_ = std::move(*views);
    phase_ = Phase::scanning;
    if (const auto taken = take_hints(); !taken) {
        abandon(taken.error());
    }
    return true;
}

// What was read of a snapshot that ran full is no disk as it ever was.
bool ScanSource::step_checking() {
    if (snapshots_->step()) {
        return false;
    }
    trouble_ = snapshots_->error();
    remove_snapshots();
    return true;
}

void ScanSource::remove_snapshots() {
    clones_.clear();
    snapshots_->begin_remove();
    phase_ = Phase::removing;
}

bool ScanSource::step_removing() {
    const bool without = snapshot_error_ && !trouble_ && !options_.insist_on_snapshots;
    // Who is held a second time is held by the next pre-hook; that comes after this post-hook.
    if (snapshots_->step() || (without && freezer_.state() == Freezer::State::finishing)) {
        return false;
    }
    if (snapshots_->error()) {
        log_error("agent.snapshot.left", {{"error", *snapshots_->error()}});
    }
    if (without) {
        snapping_ = false;  // As where there are no snapshots.
        hold_still();
        return true;
    }
    if (snapshot_error_ && !trouble_) {
        trouble_ = snapshot_error_;
    }
    end_scan();
    return true;
}

void ScanSource::fail_snapshots(const Error& why) {
    log_warning("agent.scan.no_snapshot", {{"error", why}});
    snapshot_error_ = why;
    if (held_) {
        freezer_.begin_thaw();
        phase_ = Phase::thawing;
    } else {
        remove_snapshots();
    }
}

}  // namespace cw::agent
