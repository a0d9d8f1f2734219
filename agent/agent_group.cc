// An agent whose machine shares recovery points with others.
#include "agent/agent.h"
#include "base/log.h"

namespace cw::agent {

Result<void> Agent::open_group() {
    if (!options_.group.any()) {
        return {};
    }
    if (scans() || options_.qemu_mode == QemuSource::Mode::epoch) {
        return fail(Errc::usage,
                    "a group needs a source that sees every write: --qmp in data mode, "
                    "--nbd-socket or --nbd-listen");
    }
    options_.group.machine = machine_;
    CW_TRY_ASSIGN(group_, GroupPort::open(options_.group, options_.target.files,
                                          {*this, clock_, random_, [this] { doorbell_.ring(); }}));
    next_group_ = clock_.boot() + options_.group_interval_ns;
    return {};
}

void Agent::tend_group() {
    if (options_.group_interval_ns == 0 || !group_ || stopping_ != Stopping::no ||
        clock_.boot() - next_group_ < 0) {
        return;
    }
    next_group_ = clock_.boot() + options_.group_interval_ns;
    if (const auto begun = begin_group(""); !begun) {
        log_warning("agent.group", {{"error", begun.error()}});
    }
}

Result<void> Agent::begin_group(const std::string& tag) {
    if (!group_ || group_->coordinator() == nullptr) {
        return fail(Errc::usage, "the agent was started without --group-member");
    }
    return group_->coordinator()->begin(tag)
               ? Result<void>{}
               : fail(Errc::group_incomplete, "a barrier stands already");
}

Result<PointId> Agent::hold(const GroupId& barrier, const std::string& tag, Nanos until) {
    tend_machine();  // A mirror that ended captures nothing: see control_point().
    if (wants_restart_ || stopping_ != Stopping::no) {
        return fail(Errc::not_ready, "the agent is being stopped or attached anew");
    }
    gate_.close(until);
    auto made = replicator_->make_point(pipeline::PointKind::crash, tag, {}, {}, barrier);
    if (!made) {
        gate_.open();
    }
    return made;
}

}  // namespace cw::agent
