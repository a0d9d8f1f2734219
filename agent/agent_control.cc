// What operators ask a running agent.
#include "agent/agent.h"
#include "base/exit_code.h"
#include "ingest/wire/mode_text.h"

#include <nlohmann/json.hpp>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr std::int64_t held_again_ns = ns_per_s;

std::string dump(const json& value) {
    return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

std::string refusal(const Error& error) {
    return dump({{"ok", false},
                 {"error", name_of(error.code)},
                 {"text", to_string(error)},
                 {"exit", exit_code_of(error.code)}});
}

json point_json(const TrackedPoint& point) {
    json out{{"id", to_string(point.id)},
             {"kind", pipeline::name_of(point.kind)},
             {"tag", point.tag},
             {"state", name_of(point.phase)},
             {"source_time_us", raw(point.source_time)},
             {"manifest", point.manifest},
             {"cuts", json::array()}};
    if (!point.reason.empty()) {
        out["reason"] = point.reason;
    }
    for (const auto& cut : point.cuts) {
        out["cuts"].push_back({{"disk", to_string(cut.disk)},
                               {"generation", raw(cut.generation)},
                               {"sequence", raw(cut.cut)},
                               {"stream_hash", to_hex(cut.stream_hash)}});
    }
    return out;
}

json disk_json(const Replicator::DiskStatus& disk) {
    return {
        {"mode", name_of(disk.mode)},
        {"name", disk.name},
        {"id", to_string(disk.id)},
        {"phase", disk.phase},
        {"reason", disk.reason},
        {"generation", raw(disk.generation)},
        {"next_sequence", raw(disk.next)},
        {"spooled", raw(disk.spooled)},
        {"committed", raw(disk.committed)},
        {"sync", {{"total_bytes", disk.base.total_bytes}, {"done_bytes", disk.base.done_bytes}}},
        {"missed_bytes", disk.missed_bytes},
        {"missed_ranges", disk.missed_ranges},
        {"fence_read_bytes", disk.fence_read_bytes},
        {"uncommitted_bytes", disk.uncommitted_bytes}};
}

json hints_json(const std::vector<ScanSource::Disk>& disks) {
    json out = json::array();
    for (const ScanSource::Disk& disk : disks) {
        if (disk.hints) {
            const ScanHints::Report& report = disk.hints->report();
            out.push_back({{"disk", disk.path},
                           {"on", report.on},
                           {"reason", report.reason},
                           {"narrow_scans", report.narrow_scans},
                           {"full_scans", report.full_scans},
                           {"last_scan_bytes", report.last_bytes}});
        }
    }
    return out;
}

json hooks_json(const Freezer& freezer) {
    const auto& failed = freezer.post_error();
    const auto& earlier = freezer.earlier_hook();
    json out{{"post_hook_runs", freezer.state() == Freezer::State::finishing && !earlier},
             {"post_hook_error", failed ? to_string(*failed) : ""}};
    if (earlier) {
        out["earlier"] = {{"hook", name_of(earlier->kind())},
                          {"pid", earlier->pid()},
                          {"runs_ms", earlier->age_ns() / ns_per_ms}};
    }
    return out;
}

json pauses_json(const PauseReport::Numbers& pauses) {
    json out{{"points", pauses.points},
             {"limit_ms", point_pause_max_ns / ns_per_ms},
             {"last_us", pauses.last_ns / ns_per_us},
             {"longest_us", pauses.longest_ns / ns_per_us},
             {"over_limit", pauses.over_limit},
             {"given_up", pauses.given_up}};
    if (pauses.given_up > 0) {
        out["waited_for"] = pauses.waited_for;
        out["waited_ms"] = pauses.waited_ns / ns_per_ms;
    }
    return out;
}

PointPhase phase_of(const std::string& wait) {
    return wait == "committed" ? PointPhase::committed
           : wait == "durable" ? PointPhase::durable
                               : PointPhase::queued;
}

}  // namespace

void Agent::control(std::uint64_t client, const std::string& line) {
    const json asked = json::parse(line, nullptr, false);
    const auto text = [&](const char* key, const char* fallback) {
        const auto it = asked.find(key);
        return it != asked.end() && it->is_string() ? it->get<std::string>() : fallback;
    };
    const std::string command = asked.is_object() ? text("command", "") : "";
    if (command == "status") {
        control_->reply(client, status_json());
    } else if (command == "point") {
        const auto timeout = asked.find("timeout_ms");
        const bool timed = timeout != asked.end() && timeout->is_number_integer();
        control_point(client, {.tag = text("tag", ""),
                               .until = phase_of(text("wait", "sent")),
                               .timeout_ms = timed ? timeout->get<std::int64_t>() : 60'000,
                               .frozen = text("frozen", "no") == "yes",
                               .group = text("group", "no") == "yes"});
    } else if (command == "resize") {
        const auto size = asked.find("size_bytes");
        const bool sized = size != asked.end() && size->is_number_unsigned();
        const auto resized = resize(text("disk", ""), sized ? size->get<std::uint64_t>() : 0,
                                    text("shrink", "no") == "yes");
        control_->reply(client, resized ? R"({"ok":true})" : refusal(resized.error()));
    } else if (command == "stop") {
        stop_client_ = client;
        stop_asked_.store(text("final", "no") == "yes" ? 2 : 1);
    } else {
        control_->reply(client, refusal({Errc::usage, "unknown command"}));
    }
}

void Agent::control_point(std::uint64_t client, const PointRequest& request) {
    if (request.tag.size() > pipeline::point_tag_bytes_max) {
        return control_->reply(client, refusal({Errc::usage, "the tag is longer than 256 bytes"}));
    }
    const bool scan_freezes = scanner_ != nullptr && freezer_->can_freeze();
    if (request.frozen && !scan_freezes && (!freeze_ || !freeze_->able())) {
        return control_->reply(
            client,
            refusal({Errc::usage, "the agent was started without --qga, --pre-hook or --mount"}));
    }
    // What QEMU said while we could not listen comes first: a mirror that ended captured nothing of
    // what the guest has written since, and a point now would claim it.
    tend_machine();
    if (wants_restart_) {
        return control_->reply(client,
                               refusal({Errc::not_ready, "the machine is being attached to anew"}));
    }
    const std::int64_t limit_ns = std::max<std::int64_t>(request.timeout_ms, 0) * ns_per_ms;
    const bool frozen = request.frozen && !scan_freezes;
    Waiter waiter{client, {}, request.until, clock_.boot() + limit_ns, frozen};
    if (hrl_ && hrl_->applying()) {
        return control_->reply(client,
                               refusal({Errc::not_ready, "a replica log is being applied"}));
    }
    if (request.group) {
        if (const auto begun = begin_group(request.tag); !begun) {
            return control_->reply(client, refusal(begun.error()));
        }
        waiter.group = true;
    } else if (const auto hindrance = frozen ? freeze_->hindrance() : std::nullopt; hindrance) {
        return control_->reply(client, refusal(*hindrance));
    } else if (frozen) {
        frozen_tag_ = request.tag;
        frozen_wanted_ = true;
        frozen_trouble_.reset();
    } else if (scan_) {
        if (!replicator_->consistent() && !scan_->running()) {
            return control_->reply(
                client, refusal({Errc::not_ready, "the disks are not synchronised yet"}));
        }
        scan_tag_ = request.tag;
        scan_wanted_ = true;  // The next scan, so that it begins after this request.
    } else {
        waiter.tag = request.tag;
        if (const auto made = make_crash_point(waiter); !made) {
            return control_->reply(client, refusal(made.error()));
        }
    }
    waiters_.push_back(std::move(waiter));
}

// Disks that could not be held at one moment may be at the next: whoever asked has said how long he
// waits.
Result<void> Agent::make_crash_point(Waiter& waiter) {
    const auto made = replicator_->make_point(pipeline::PointKind::crash, waiter.tag);
    waiter.held.reset();
    if (made) {
        waiter.point = *made;
    } else if (made.error().code == Errc::held_too_long) {
        waiter.held = made.error();
        waiter.again = clock_.boot() + held_again_ns;
    } else {
        return std::unexpected(made.error());
    }
    return {};
}

bool Agent::find_point(Waiter& waiter) {
    if (waiter.held && clock_.boot() - waiter.again >= 0) {
        if (const auto made = make_crash_point(waiter); !made) {
            control_->reply(waiter.client, refusal(made.error()));
            return false;
        }
    }
    const std::optional<Result<PointId>>* outcome = nullptr;
    std::optional<Result<PointId>> of_group;
    if (waiter.group) {
        const auto& barrier = group_->coordinator()->outcome();
        if (barrier) {
            of_group =
                *barrier ? Result<PointId>((*barrier)->point) : std::unexpected(barrier->error());
        }
        outcome = &of_group;
    } else if (waiter.frozen) {
        const auto trouble = frozen_trouble_ ? frozen_trouble_ : freeze_->hindrance();
        if (trouble) {
            control_->reply(waiter.client, refusal(*trouble));
            return false;
        }
    } else if (scan_ && !scan_wanted_ && !scan_->running()) {
        outcome = &scan_->outcome();
    }
    if (waiter.point || waiter.held || outcome == nullptr || !*outcome) {
        return true;
    }
    if (!**outcome) {
        control_->reply(waiter.client, refusal((**outcome).error()));
        return false;
    }
    waiter.point = ***outcome;
    return true;
}

void Agent::tend_waiters() {
    for (auto it = waiters_.begin(); it != waiters_.end();) {
        if (!find_point(*it)) {
            it = waiters_.erase(it);
            continue;
        }
        const TrackedPoint* const point = it->point && !replicator_->is_held(*it->point)
                                              ? replicator_->points().find(*it->point)
                                              : nullptr;
        if (point != nullptr && point->phase == PointPhase::dropped) {
            control_->reply(it->client,
                            refusal({Errc::resync_required, "dropped: " + point->reason}));
        } else if (point != nullptr && point->phase >= it->until) {
            json out = point_json(*point);
            out["ok"] = true;
            control_->reply(it->client, dump(out));
        } else if (clock_.boot() - it->deadline >= 0) {
            const std::string why = it->frozen ? ": " + why_not_frozen() : std::string{};
            control_->reply(
                it->client,
                refusal(it->held.value_or(Error{Errc::cancelled, "waited in vain" + why})));
        } else {
            ++it;
            continue;
        }
        it = waiters_.erase(it);
    }
}

std::string Agent::status_json() {
    const Replicator::Status status = replicator_->status();
    json out{{"ok", true},
             {"machine", to_string(machine_)},
             {"machine_name", options_.machine_name},
             {"link", name_of(status.link)},
             {"server", status.peer},
             {"sent_bytes", status.sent_bytes},
             {"queued_bytes", status.queued_bytes},
             {"rpo_ms", status.rpo_ms},
             {"mode", name_of(status.mode.mode)},
             {"mode_reason", status.mode.reason},
             {"backlog_bytes", status.mode.backlog_bytes},
             {"source", source_name()},
             {"interval_ms", interval_ns() / ns_per_ms},
             {"app_interval_ms", app_interval_ns() / ns_per_ms},
             {"pauses", pauses_json(replicator_->pauses().numbers())},
             {"disks", json::array()},
             {"points", json::array()}};
    if (status.last_error) {
        out["last_error"] = to_string(*status.last_error);
    }
    if (scan_ && scan_->outcome() && !*scan_->outcome()) {
        out["scan_error"] = to_string(scan_->outcome()->error());
    }
    if (const auto hindrance = freeze_ ? freeze_->hindrance() : std::nullopt; hindrance) {
        out["freeze_error"] = to_string(*hindrance);
    }
    if (scanner_ != nullptr) {
        out["hints"] = hints_json(scanner_->disks());
        out["snapshots"] = {
            {"on", scanner_->has_snapshots()},
            {"last_error",
             scanner_->snapshot_error() ? to_string(*scanner_->snapshot_error()) : ""}};
    }
    if (freezer_ && (freezer_->can_freeze() || freezer_->earlier_hook())) {
        out["hooks"] = hooks_json(*freezer_);
    }
    if (qemu_) {
        out["machine_reason"] = qemu_->reason();
    }
    if (spiller_) {
        const Spiller::Usage use = spiller_->usage();
        out["spool"] = {{"used_bytes", use.used_bytes},
                        {"room_bytes", use.room_bytes},
                        {"bytes_per_s", use.bytes_per_s}};
    }
    if (nbd_) {
        out["nbd_port"] = nbd_->port();
    }
    if (hrl_) {
        out["hrl"] = {{"last", hrl_id_text(hrl_->last())}, {"applying", hrl_->applying()}};
        if (hrl_->trouble()) {
            out["hrl"]["error"] = to_string(*hrl_->trouble());
        }
    }
    for (std::size_t slot = 0; slot < hrl_outputs_.size(); ++slot) {
        const auto& trouble = hrl_outputs_[slot]->trouble();
        out["hrl_output"].push_back({{"disk", options_.disks[slot].name},
                                     {"last", hrl_id_text(hrl_outputs_[slot]->last())},
                                     {"error", trouble ? to_string(*trouble) : ""}});
    }
    if (group_) {
        out["group"] = {{"port", group_->port()},
                        {"members", options_.group.members.size()},
                        {"connected", group_->connected()}};
        if (group_->trouble()) {
            out["group"]["last_error"] = to_string(*group_->trouble());
        }
    }
    for (const auto& disk : status.disks) {
        out["disks"].push_back(disk_json(disk));
    }
    const auto& points = replicator_->points().all();
    const std::size_t first = points.size() > 20 ? points.size() - 20 : 0;
    for (std::size_t i = first; i < points.size(); ++i) {
        out["points"].push_back(point_json(points[i]));
    }
    return dump(out);
}

}  // namespace cw::agent
