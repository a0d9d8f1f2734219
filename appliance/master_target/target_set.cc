#include "appliance/master_target/target_set.h"

#include <algorithm>
#include <optional>
#include <set>

namespace cw::appliance {
namespace {

constexpr std::int64_t reopen_ns = 10 * ns_per_s;

TargetDisk* find_if(const std::vector<std::unique_ptr<TargetDisk>>& targets, const auto& is_it) {
    const auto found =
        std::ranges::find_if(targets, [&](const auto& target) { return is_it(*target); });
    return found == targets.end() ? nullptr : found->get();
}

}  // namespace

TargetSet::TargetSet(std::vector<TargetOptions> targets, volume::VolumeWriter::Context context,
                     Conditions& conditions) {
    for (TargetOptions& target : targets) {
        targets_.push_back(std::make_unique<TargetDisk>(std::move(target), context, conditions));
    }
}

// What failed is tried again: the device may have come back.
bool TargetSet::open_due(Nanos now, const std::function<void(const TargetDisk&)>& back) {
    if (now < due_) {
        return false;
    }
    bool opened = false, missing = false;
    for (const auto& target : targets_) {
        const bool before = target->trouble().has_value();
        const bool open = target->open();
        missing |= !open;
        if (open && before) {
            opened = true;
            back(*target);
        }
    }
    // Looked at again even when all is well: one may fail later.
    due_ = now + reopen_ns;
    return opened || missing;
}

TargetDisk* TargetSet::find(const MachineId& machine, const DiskId& disk) {
    return find_if(targets_, [&](const TargetDisk& one) { return one.is_for(machine, disk); });
}

TargetDisk* TargetSet::find(const MachineId& machine, const pipeline::DiskHello& hello) {
    return find_if(targets_, [&](TargetDisk& one) { return one.meets(machine, hello); });
}

TargetDisk* TargetSet::find(const MachineId& machine, const std::string& disk) {
    const auto id = parse_id<DiskId>(disk);
    return find_if(targets_, [&](const TargetDisk& one) {
        return one.options().machine == machine &&
               (one.options().disk == disk || (id && one.is_for(machine, *id)));
    });
}

bool TargetSet::merging() const noexcept {
    return std::ranges::any_of(targets_, [](const auto& one) { return one->merging(); });
}

std::vector<PointId> TargetSet::committed_points(const MachineId& machine,
                                                 std::size_t count_max) const {
    std::optional<std::vector<PointId>> common;  // Newest first.
    for (const auto& target : targets_) {
        if (target->options().machine != machine) {
            continue;
        }
        if (target->unsettled()) {
            return {};
        }
        std::vector<PointId> held = target->held_points();
        if (held.empty()) {
            continue;  // Its first synchronisation is still to end; the others' points stand.
        }
        if (!common) {
            held.resize(std::min(held.size(), count_max));
            common = std::move(held);
            continue;
        }
        const std::set<PointId> here(held.begin(), held.end());
        std::erase_if(*common, [&](const PointId& id) { return !here.contains(id); });
    }
    std::vector<PointId> out = std::move(common).value_or(std::vector<PointId>{});
    std::ranges::reverse(out);
    return out;
}

std::vector<TargetStatus> TargetSet::status() const {
    std::vector<TargetStatus> out;
    out.reserve(targets_.size());
    for (const auto& target : targets_) {
        out.push_back(target->status());
    }
    return out;
}

}  // namespace cw::appliance
