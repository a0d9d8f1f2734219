#include "agent/scan/volume_snapshots.h"

#include "base/log.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace cw::agent {
namespace {

constexpr std::string_view prefix = "causeway-";
constexpr unsigned tries_max = 5;  // Somebody looks at each new device for a moment (udev).
constexpr std::int64_t retry_ns = 500 * ns_per_ms, last_wait_ns = 10 * ns_per_s;

}  // namespace

std::optional<std::string> lvm_name_of(const std::string& path, const std::string& sys) {
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0 || !S_ISBLK(st.st_mode)) {
        return std::nullopt;
    }
    const std::string node = sys + "/dev/block/" + std::to_string(major(st.st_rdev)) + ":" +
                             std::to_string(minor(st.st_rdev)) + "/dm/";
    std::ifstream uuid_file(node + "uuid"), name_file(node + "name");
    std::string uuid, name;
    std::getline(uuid_file, uuid);
    std::getline(name_file, name);
    return uuid.starts_with("LVM-") && !name.empty()
               ? std::optional<std::string>("/dev/mapper/" + name)
               : std::nullopt;
}

VolumeSnapshots::VolumeSnapshots(Options options, LvmTools tools, Clock& clock,
                                 std::vector<Disk> disks)
    : options_(std::move(options)),
      tag_(std::string(prefix) + to_string(options_.machine)),
      tools_(std::move(tools)),
      clock_(clock),
      disks_(std::move(disks)) {
    CW_ASSERT(!disks_.empty());
}

VolumeSnapshots::~VolumeSnapshots() {
    const Nanos limit = clock_.boot() + last_wait_ns;
    const auto wait = [&] {
        while (step() && clock_.boot() - limit < 0) {
            ::poll(nullptr, 0, 5);
        }
        return task_ == Task::none;
    };
    if (!wait() || snapshots_.empty()) {
        return;
    }
    begin_remove();
    wait();
}

std::string VolumeSnapshots::name_of_snapshot(const DiskId& id) const {
    return std::string(prefix) + to_string(id);
}

void VolumeSnapshots::begin_prepare() {
    origins_.clear();
    begin(Task::sweep);
}

void VolumeSnapshots::begin_create() {
    CW_ASSERT(origins_.size() == disks_.size() && snapshots_.empty());
    begin(Task::create);
}

void VolumeSnapshots::begin_find() {
    begin(Task::find);
}

void VolumeSnapshots::begin_check() {
    begin(Task::check);
}

void VolumeSnapshots::begin_remove() {
    begin(Task::remove);
}

void VolumeSnapshots::begin(Task task) {
    CW_ASSERT(task_ == Task::none);
    error_.reset();
    task_ = task;
    at_ = 0;
    tries_ = 0;
    next_try_ = Nanos{};
    if (tools_.stuck()) {
        give_up({Errc::snapshot_failed, "an LVM tool that was started earlier does not end"});
        return;
    }
    go_on();
}

void VolumeSnapshots::go_on() {
    switch (task_) {
        case Task::none:
            return;
        case Task::sweep:
            return tools_.list({});
        case Task::sweep_one:
            if (leftovers_.empty()) {
                task_ = Task::look;
                at_ = 0;
                return go_on();
            }
            return tools_.remove(leftovers_.back());
        case Task::look:
            return at_ < disks_.size() ? tools_.list(disks_[at_].path) : end();
        case Task::create:
            return at_ < disks_.size()
                       ? tools_.create(origins_[at_], {.name = name_of_snapshot(disks_[at_].id),
                                                       .tag = tag_,
                                                       .size = options_.size})
                       : end();
        case Task::find:
        case Task::check:
            return at_ < snapshots_.size() ? tools_.list(snapshots_[at_].full_name()) : end();
        case Task::remove:
            return snapshots_.empty() ? end() : tools_.remove(snapshots_.back().full_name());
    }
}

bool VolumeSnapshots::step() {
    if (task_ == Task::none) {
        return false;
    }
    if (!tools_.running() && raw(next_try_) != 0) {
        if (clock_.boot() - next_try_ < 0) {
            return true;
        }
        next_try_ = Nanos{};
        go_on();
    }
    if (const auto ended = tools_.poll()) {
        if (*ended) {
            take(**ended);
        } else if (!remove_again(ended->error())) {
            give_up(ended->error());
        }
    }
    return task_ != Task::none;
}

void VolumeSnapshots::take(const std::string& printed) {
    switch (task_) {
        case Task::none:
            return;
        case Task::sweep:
            return take_leftovers(printed);
        case Task::sweep_one:
            log_warning("agent.snapshot.leftover", {{"volume", leftovers_.back()}});
            leftovers_.pop_back();
            tries_ = 0;
            return go_on();
        case Task::create: {
            LogicalVolume made = origins_[at_];
            made.name = name_of_snapshot(disks_[at_].id);
            snapshots_.push_back(std::move(made));
            ++at_;
            return go_on();
        }
        case Task::look:
        case Task::find:
        case Task::check:
            return take_volume(printed);
        case Task::remove:
            snapshots_.pop_back();
            tries_ = 0;
            return go_on();
    }
}

void VolumeSnapshots::take_leftovers(const std::string& printed) {
    const auto volumes = parse_volumes(printed);
    if (!volumes) {
        return give_up(volumes.error());
    }
    leftovers_.clear();
    for (const LogicalVolume& volume : *volumes) {
        if (volume.name.starts_with(prefix) &&
            std::ranges::find(volume.tags, tag_) != volume.tags.end()) {
            leftovers_.push_back(volume.full_name());
        }
    }
    snapshots_.clear();  // Those of ours that still stand are among them.
    task_ = Task::sweep_one;
    go_on();
}

void VolumeSnapshots::take_volume(const std::string& printed) {
    const auto volumes = parse_volumes(printed);
    if (!volumes) {
        return give_up(volumes.error());
    }
    if (volumes->size() != 1) {
        return give_up({Errc::snapshot_failed, "lvs knows no single such volume"});
    }
    const LogicalVolume& volume = volumes->front();
    if (task_ == Task::look) {
        origins_.push_back(volume);
    } else if (!volume.active()) {
        return give_up({Errc::snapshot_failed, volume.full_name() +
                                                   " ran full or is not active (lv_attr " +
                                                   escape_for_display(volume.attributes, 16) +
                                                   "): --snapshot-size is " + options_.size});
    } else {
        snapshots_[at_] = volume;
    }
    ++at_;
    go_on();
}

// Whatever could not be removed now is removed before the next snapshot is made.
bool VolumeSnapshots::remove_again(const Error& why) {
    const bool removes = task_ == Task::remove || task_ == Task::sweep_one;
    if (!removes || tools_.stuck() || ++tries_ >= tries_max) {
        return false;
    }
    log_info("agent.snapshot.remove", {{"error", why}});
    next_try_ = clock_.boot() + retry_ns;
    return true;
}

void VolumeSnapshots::give_up(const Error& why) {
    log_warning("agent.snapshot", {{"error", why}});
    error_ = why;
    end();
}

Result<std::vector<std::unique_ptr<BlockImage>>> VolumeSnapshots::open_views() {
    CW_ASSERT(snapshots_.size() == disks_.size());
    std::vector<std::unique_ptr<BlockImage>> views;
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        auto view = open_image(snapshots_[i].path, ImageAccess::read_only);
        if (!view) {
            return fail(Errc::snapshot_failed, to_string(view.error()));
        }
        if ((*view)->size() != disks_[i].size_bytes) {
            return fail(Errc::snapshot_failed, snapshots_[i].path + " has another size");
        }
        views.push_back(std::move(*view));
    }
    return views;
}

}  // namespace cw::agent
