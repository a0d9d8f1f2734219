// What operators order of a process server: POST /v1/move, /v1/resync, /v1/rotate-data-key,
// /v1/discard, /v1/forgive.
#include "appliance/discard_rule.h"
#include "appliance/order_body.h"
#include "appliance/process_server.h"
#include "appliance/resync_order.h"
#include "appliance/wait_until.h"
#include "base/log.h"
#include "recovery/catalog.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr std::int64_t move_patience_ns = 60 * ns_per_s, flush_ns = 1 * ns_per_s;

std::string told(const std::string& what) {
    return json{{"told", what}}.dump(-1, ' ', true, json::error_handler_t::replace);
}

// {"machine": …} of orders that have nothing else.
Result<MachineId> machine_in(const std::string& body) {
    CW_TRY_ASSIGN(const json order, read_order(body, {{"machine", FieldKind::text, true}}));
    return parse_id<MachineId>(order["machine"].get<std::string>());
}

const upload::MachineStatus* find_machine(const upload::EngineStatus& status,
                                          const MachineId& machine) {
    const auto found = std::ranges::find(status.machines, machine, &upload::MachineStatus::machine);
    return found == status.machines.end() ? nullptr : &*found;
}

}  // namespace

Result<std::string> ProcessServer::post(const std::string& name, const std::string& body) {
    if (name == "move") {
        CW_TRY_ASSIGN(const json order, read_order(body, {{"machine", FieldKind::text, true},
                                                          {"to", FieldKind::text, true}}));
        CW_TRY_ASSIGN(const auto machine, parse_id<MachineId>(order["machine"].get<std::string>()));
        return move(machine, order["to"].get<std::string>());
    }
    if (name == "resync") {
        CW_TRY_ASSIGN(const ResyncOrder order,
                      parse_resync_order(body, resync_window_, *context_.seams.clock));
        return resync(order.subject, order.at);
    }
    if (name == "rotate-data-key") {
        CW_TRY_ASSIGN(const json order, read_order(body, {{"machine", FieldKind::text}}));
        return rotate_data_key(order.value("machine", std::string()));
    }
    if (name == "discard" || name == "forgive") {
        CW_TRY_ASSIGN(const MachineId machine, machine_in(body));
        return name == "discard" ? discard(machine) : forgive(machine);
    }
    return Terminal::post(name, body);
}

// Only what nothing is published of any more, or what its agent would have to repair: what is held
// of any other machine is on its way to the vault, and stays.
Result<std::string> ProcessServer::discard(const MachineId& machine) {
    const upload::EngineStatus status = engine_->status();
    const upload::MachineStatus* const shown = find_machine(status, machine);
    if (shown == nullptr) {
        return fail(Errc::not_found, "this server holds nothing of machine " + to_string(machine));
    }
    CW_TRY(may_discard(*shown, context_.conditions.list()));
    log_warning("server.discard", {{"machine", machine}, {"records", shown->backlog_records}});
    const bool on_its_way = shown->mode == upload::MachineMode::active &&
                            std::ranges::none_of(shown->disks, &upload::DiskStatus::damaged);
    if (!on_its_way) {
        engine_->post(upload::DiscardQuarantineCommand{machine});
    }
    intake_->forget(machine);
    return told(
        "what this server's cache holds of the machine and cannot publish is released, and "
        "what it lost of it is no longer waited for");
}

Result<std::string> ProcessServer::forgive(const MachineId& machine) {
    log_warning("server.forgive", {{"machine", machine}});
    intake_->forgive(machine);
    return told(
        "the machine's identity is admitted again, and what stood for a refused state of its agent "
        "has ended; an agent with that state is refused all the same");
}

// An empty name: of every machine here.
Result<std::string> ProcessServer::rotate_data_key(const std::string& wanted) {
    std::size_t ordered = 0;
    for (const upload::MachineStatus& machine : engine_->status().machines) {
        const bool active = machine.mode == upload::MachineMode::active;
        if (active && (wanted.empty() || wanted == to_string(machine.machine))) {
            engine_->post(upload::RotateDekCommand{machine.machine});
            ++ordered;
        }
    }
    if (ordered == 0) {
        return fail(Errc::not_found, "this server publishes for no such machine now");
    }
    log_info("server.data_key_ordered", {{"machines", ordered}});
    return told("new data keys for " + std::to_string(ordered) +
                (ordered == 1 ? " machine" : " machines") +
                "; each is used as soon as a manifest that carries it is committed");
}

// Nothing more is taken, what is here is published, then the chain is let go of. What cannot be
// published in time the agent still has: it sends it to the next server.
Result<std::string> ProcessServer::move(const MachineId& machine, const std::string& to) {
    const upload::EngineStatus before = engine_->status();
    if (to == settings_.server_name) {
        CW_TRY(orders_.take_back(machine));
        return told("the machine is taken here again, when its agent comes");
    }
    if (find_machine(before, machine) == nullptr && !orders_.moved_to(machine)) {
        return fail(Errc::not_found, "this server does not have machine " + to_string(machine));
    }
    CW_TRY(orders_.move_away(machine, to));
    log_info("server.move", {{"machine", machine}, {"to", to}});
    intake_->let_go(machine);
    Clock& clock = *context_.seams.clock;
    const auto is_published = [&] {
        const upload::EngineStatus status = engine_->status();
        const upload::MachineStatus* const shown = find_machine(status, machine);
        return shown == nullptr || shown->mode != upload::MachineMode::active ||
               shown->backlog_records == 0;
    };
    bool published = false;
    for (std::int64_t waited = 0; !published && waited < move_patience_ns; waited += flush_ns) {
        engine_->post(upload::FlushCommand{machine});  // Again: more may have come from the cache.
        published = wait_until(clock, clock.boot() + flush_ns, is_published);
    }
    if (!published) {
        return fail(Errc::server_busy,
                    "the machine is moved; what is still in this server's cache goes on to the "
                    "vault, or comes again from the agent");
    }
    engine_->post(upload::CloseCommand{machine});
    return told(
        "moved: everything received is in the vault; the agent goes on with the next of "
        "its --server, which must be " +
        to);
}

Result<std::string> ProcessServer::resync(const std::string& subject, WallMicros at) {
    std::size_t ordered = 0;
    const upload::EngineStatus status = engine_->status();
    for (const upload::MachineStatus& machine : status.machines) {
        for (const upload::DiskStatus& disk : machine.disks) {
            if (subject == to_string(machine.machine) || subject == to_string(disk.disk)) {
                CW_TRY(
                    orders_.order_resync(machine.machine, disk.disk, at, "ordered by an operator"));
                ++ordered;
            }
        }
    }
    if (ordered == 0) {
        return fail(Errc::not_found, "this server has no machine and no disk " + subject);
    }
    log_info("server.resync_ordered", {{"subject", subject}, {"disks", ordered}});
    const bool later = at > context_.seams.clock->wall();
    return told("ordered for " + std::to_string(ordered) + (ordered == 1 ? " disk" : " disks") +
                (later ? ", from " + recovery::time_text(at) + " on" : "") +
                "; causeway status shows the comparison");
}

std::optional<std::string> ProcessServer::resync_due(const MachineId& machine, const DiskId& disk) {
    return orders_.resync_due(machine, disk, context_.seams.clock->wall());
}

// So much changed while nothing could be sent that a person's working hours are spared: when the
// window opens, or when somebody orders it. The agent says it every few seconds.
void ProcessServer::require_resync(const ingest::AgentNotice& notice) {
    Clock& clock = *context_.seams.clock;
    const WallMicros now = clock.wall();
    const WallMicros at = resync_window_.opens(now, utc_offset_minutes(clock));
    const auto kept = orders_.require_resync(notice.machine, notice.disk, at, notice.reason, now);
    const WallMicros due = kept ? *kept : at;
    context_.conditions.raise(
        Errc::resync_required, notice.subject,
        notice.reason + (due > now ? "; compared from " + recovery::time_text(due) +
                                         " on, or at once: causeway resync " +
                                         to_string(notice.machine) + " --now"
                                   : "; it is compared at once"));
}

void ProcessServer::resync_begun(const MachineId& machine, const DiskId& disk) {
    log_info("server.resync_begun", {{"machine", machine}, {"disk", disk}});
    (void)orders_.resync_begun(machine, disk);  // obey_orders() shows what could not be written.
}

// A session that stands says HELLO again, and is told what is due. An agent with several servers
// may say it to another one: that one has the machine then, and takes its own orders.
void ProcessServer::obey_orders(const upload::EngineStatus& status) {
    for (const upload::MachineStatus& machine : status.machines) {
        if (machine.mode == upload::MachineMode::fenced ||
            machine.mode == upload::MachineMode::closed) {
            (void)orders_.forget_resyncs(machine.machine);
        }
    }
    orders_trouble_.show(orders_.save());
    for (const MachineId& machine : orders_.take_due(context_.seams.clock->wall())) {
        intake_->end_session(machine);
    }
}

}  // namespace cw::appliance
