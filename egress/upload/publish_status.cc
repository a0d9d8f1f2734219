// What can be seen of every machine's chain: status, and how old the newest point is and why.
#include "egress/upload/publish_stage.h"

#include <algorithm>
#include <bit>

namespace cw::upload {

void PublishStage::count_points(const Draft& draft) {
    for (std::size_t i = 0; i < draft.told.points.size(); ++i) {
        const pipeline::PointState state = draft.told.points[i].state;
        const std::string name = state == pipeline::PointState::committed ? "committed"
                                 : state == pipeline::PointState::same_as ? "same_as"
                                                                          : "dropped";
        context_.metrics
            .counter("causeway_points_total",
                     {{"kind", std::string(pipeline::name_of(draft.kinds[i]))}, {"state", name}})
            .add(1);
    }
}

// Where the time of the newest point went, by this server's clock; only its first part compares two
// machines' clocks.
void PublishStage::note_point(Machine& machine, const MachineId& id, const Draft& draft) {
    if (!draft.point_time) {
        return;
    }
    const auto seconds = [](std::int64_t ns) {
        return static_cast<double>(std::max<std::int64_t>(ns, 0)) / 1e9;
    };
    const Nanos now = context_.clock.boot();
    machine.point_time = draft.point_time;
    if (draft.point) {
        machine.newest_point = draft.point;
    }
    const Nanos transformed = std::max(draft.slowest.transformed, draft.point_assembled);
    const Nanos uploaded = std::max(draft.slowest.uploaded, transformed);
    const std::int64_t received_wall_us =
        static_cast<std::int64_t>(context_.clock.wall()) - (now - draft.point_received) / ns_per_us;
    machine.stages = {
        .source =
            seconds((received_wall_us - static_cast<std::int64_t>(*draft.point_time)) * ns_per_us),
        .cache = seconds(draft.point_assembled - draft.point_received),
        .transform = seconds(transformed - draft.point_assembled),
        .upload = seconds(uploaded - transformed),
        .commit = seconds(now - uploaded),
    };
    const std::string label = to_string(id);
    const auto set = [this, &label](const char* stage, double value) {
        context_.metrics.gauge("causeway_rpo_stage_seconds", {{"machine", label}, {"stage", stage}})
            .set(value);
    };
    set("source", machine.stages.source);
    set("cache", machine.stages.cache);
    set("transform", machine.stages.transform);
    set("upload", machine.stages.upload);
    set("commit", machine.stages.commit);
}

void PublishStage::refresh_status(Nanos now) {
    status_due_ = now + ns_per_s;
    bound_chains();
    std::vector<MachineStatus> all;
    all.reserve(machines_.size());
    for (const auto& [id, machine] : machines_) {
        all.push_back(status_of(id, machine));
        if (all.back().rpo_seconds) {
            context_.metrics.gauge("causeway_rpo_seconds", {{"machine", to_string(id)}})
                .set(*all.back().rpo_seconds);
        }
    }
    context_.board.set_machines(std::move(all));
}

MachineStatus PublishStage::status_of(const MachineId& id, const Machine& machine) const {
    MachineStatus out;
    out.machine = id;
    out.name = machine.name;
    out.mode = machine.mode;
    out.trouble = machine.trouble;
    out.newest_point = machine.newest_point;
    out.stages = machine.stages;
    std::optional<WallMicros> point_time = machine.point_time;
    if (machine.writer != nullptr) {
        const Ledger& ledger = machine.writer->ledger();
        const vault::ChainState& state = ledger.state();
        point_time = ledger.newest_point_time();
        out.manifest_number = state.newest.number;
        out.manifest_hash = state.hash;
        out.epoch = state.newest.epoch;
        out.points = state.points.size();
        for (const vault::DiskEntry& disk : state.newest.disks) {
            DiskStatus& shown = out.disks.emplace_back();
            shown.disk = disk.disk;
            shown.name = disk.name;
            shown.size_bytes = disk.size_bytes;
            shown.generation = disk.generation;
            shown.assembled = shown.committed = disk.committed;
            shown.protected_ = disk.protected_;
            shown.left_out = ledger.is_left_out(disk.disk);
            shown.open_fence = disk.open_fence;
            shown.damaged = machine.damaged.contains(disk.disk);
            for (const std::byte bits : disk.base_done) {
                shown.base_done +=
                    static_cast<std::uint64_t>(std::popcount(std::to_integer<unsigned>(bits)));
            }
            shown.base_total =
                (disk.size_bytes + pipeline::super_chunk_bytes - 1) / pipeline::super_chunk_bytes;
        }
    }
    if (point_time) {
        const auto age_us = static_cast<std::int64_t>(context_.clock.wall()) -
                            static_cast<std::int64_t>(*point_time);
        out.rpo_seconds = static_cast<double>(std::max<std::int64_t>(age_us, 0)) / 1e6;
    }
    return out;
}

}  // namespace cw::upload
