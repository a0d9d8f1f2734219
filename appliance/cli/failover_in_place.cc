// causeway failover at a second site, in place: the daemon is asked to make its targets the point,
// and waited for.
//
// The daemon tells of progress and trouble. What each target is to become its state file decides:
// it is durable before an order is answered, and right also while a daemon that was started again
// has not opened its targets yet.
#include "appliance/cli/daemon_targets.h"
#include "appliance/cli/second_site.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/control_client.h"
#include "appliance/patient_question.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "egress/volume/volume_state.h"
#include "recovery/catalog.h"

#include <cstdio>

#include <nlohmann/json.hpp>
#include <poll.h>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr int poll_ms = 200;
constexpr int orders_max = 10;  // To a daemon that ends each time.
constexpr std::int64_t silence_ns_max = 600 * ns_per_s;

class FailoverInPlace {
public:
    FailoverInPlace(Cli& cli, std::string machine, const vault::PointEntry& point,
                    std::string socket)
        : cli_(cli),
          machine_(std::move(machine)),
          point_(point),
          daemon_(std::move(socket)),
          question_(daemon_, *cli.seams.clock, silence_ns_max) {}

    // The targets, which are the point. Errors: target_switching (one is another point, or becomes
    // one), transition_refused (somebody gave one up meanwhile), cancelled, what stops a target,
    // those of PatientQuestion.
    Result<json> run(ShownJob& job) {
        CW_TRY_ASSIGN(targets_, targets_of(cli_, machine_));
        CW_TRY(order_all_patiently());
        CW_CRASH_POINT("second_site.ordered");
        CW_TRY(wait_until_done(job));
        return targets_;
    }

private:
    // nullopt: it collects, or nothing was begun there. Errors: those of read_volume_state().
    Result<std::optional<volume::VolumeState>> decided(const json& target) {
        auto state = volume::read_volume_state(*cli_.seams.disk,
                                               target.value("work_directory", "") + "/state");
        if (!state && state.error().code != Errc::not_found) {
            return std::unexpected(state.error());
        }
        if (!state || state->phase == volume::Phase::collecting) {
            return std::nullopt;
        }
        return *state;
    }

    [[nodiscard]] bool is_wanted(const volume::VolumeState& state) const {
        return state.point && state.point->id == point_.id;
    }

    // Errors: target_switching.
    Result<void> check_free() {
        for (const json& target : targets_) {
            CW_TRY_ASSIGN(const auto state, decided(target));
            if (state && !is_wanted(*state)) {
                return fail(Errc::target_switching, target.value("path", "") + " is " +
                                                        std::string(volume::name_of(state->phase)) +
                                                        ": it becomes, or is, another point");
            }
        }
        return {};
    }

    Result<void> order_all() {
        for (const json& target : targets_) {
            CW_TRY_ASSIGN(const auto state, decided(target));
            if (state && is_wanted(*state)) {
                continue;
            }
            const json order{{"machine", target["machine"]},
                             {"disk", target["disk"]},
                             {"point", to_string(point_.id)}};
            CW_TRY(daemon_.post("target/switch",
                                order.dump(-1, ' ', false, json::error_handler_t::replace)));
        }
        return {};
    }

    // All of them or none, as far as can be known before. A daemon that ends while it is ordered
    // may have switched some: nobody knows until it runs again, and then the rest is ordered.
    Result<void> order_all_patiently() {
        for (int tries = 0;; ++tries) {
            CW_TRY(check_free());
            const auto ordered = order_all();
            if (ordered || ordered.error().code != Errc::unreachable || tries >= orders_max) {
                return ordered;
            }
            std::fputs("the daemon ended while it was ordered to switch: waiting for it\n", stderr);
            CW_TRY_ASSIGN(auto answer, question_.get("status"));
            while (!answer) {
                CW_TRY(pause());
                CW_TRY_ASSIGN(answer, question_.get("status"));
            }
            CW_TRY_ASSIGN(targets_, targets_in(*answer, machine_));
        }
    }

    Result<void> wait_until_done(ShownJob& job) {
        while (true) {
            const bool was_silent = question_.silent();
            CW_TRY_ASSIGN(const auto answer, question_.get("status"));
            if (!answer) {
                if (!was_silent) {
                    std::fputs(
                        "the daemon does not answer; the switch is decided: waiting for it\n",
                        stderr);
                }
                CW_TRY(pause());
                continue;
            }
            CW_TRY_ASSIGN(const json targets, targets_in(*answer, machine_));
            CW_TRY_ASSIGN(const std::size_t done, count_done(targets));
            if (done == targets.size()) {
                return {};
            }
            show_progress(targets, job);
            CW_TRY(pause());
        }
    }

    // Errors: transition_refused (given up by somebody else), what stops a target.
    Result<std::size_t> count_done(const json& targets) {
        std::size_t done = 0;
        for (const json& target : targets) {
            CW_TRY_ASSIGN(const auto state, decided(target));
            if (!state || !is_wanted(*state)) {
                return std::unexpected(Error{
                    Errc::transition_refused,
                    target.value("path", "") +
                        (state ? " was made another point" : " was made a target again") +
                        " by somebody else while this failover waited for it; the others stay "
                        "what they were ordered to become",
                    "causeway target list; then this failover again, or causeway target cancel " +
                        machine_ + " DISK for each disk that is not to stay"});
            }
            if (state->phase == volume::Phase::done) {
                ++done;
            } else if (target.contains("trouble")) {
                return std::unexpected(trouble_of(target));
            }
        }
        return done;
    }

    // As the daemon has it: its code, evidence and advice.
    static Error trouble_of(const json& target) {
        const auto number = target.value("trouble_number", std::uint16_t{0});
        return {errc_from_number(number).value_or(Errc::io_error),
                target.value("path", "") + ": " + target.value("trouble_detail", ""),
                target.value("trouble_next", "")};
    }

    static void show_progress(const json& targets, ShownJob& job) {
        std::uint64_t done_bytes = 0, total_bytes = 0;
        for (const json& target : targets) {
            if (target.contains("work")) {
                done_bytes += target["work"].value("done_bytes", std::uint64_t{0});
                total_bytes += target["work"].value("total_bytes", std::uint64_t{0});
            }
        }
        job.note("switching", done_bytes, total_bytes);
    }

    // Errors: cancelled, by a signal.
    Result<void> pause() {
        ::poll(nullptr, 0, poll_ms);
        if (!stop_requested()) {
            return {};
        }
        return std::unexpected(Error{
            Errc::cancelled, "targets that become the point all the same: " + decided_targets(),
            "causeway failover " + machine_ + " --point " + to_string(point_.id) +
                ", to see it to its end; causeway undo-failover " + machine_ +
                ", after that, makes them targets again"});
    }

    // Their switch is decided, whoever waits for it.
    std::string decided_targets() {
        std::string paths;
        for (const json& target : targets_) {
            const auto state = decided(target);
            if (!state || *state) {  // One that cannot be asked may be.
                paths += (paths.empty() ? "" : ", ") + target.value("path", "");
            }
        }
        return paths.empty() ? "none" : paths;
    }

    Cli& cli_;
    const std::string machine_;
    const vault::PointEntry& point_;
    const ControlClient daemon_;
    PatientQuestion question_;
    json targets_;
};

void print_switched(Cli& cli, const std::string& machine, const vault::PointEntry& point,
                    const json& targets, const MachineRecord& record) {
    const std::string time = recovery::time_text(point.source_time);
    const std::string state(name_of(record.state));
    if (cli.json) {
        json paths = json::array();
        for (const json& target : targets) {
            paths.push_back(target["path"]);
        }
        print_json({{"machine", machine},
                    {"point", to_string(point.id)},
                    {"point_time", time},
                    {"targets", paths},
                    {"state", state},
                    {"job", to_string(record.jobs.back().id)}});
        return;
    }
    for (const json& target : targets) {
        std::printf("%s: as of %s\n", escape_for_display(target.value("path", "")).c_str(),
                    time.c_str());
    }
    std::printf(
        "the machine is %s: start it from there, then `causeway commit %s`; or "
        "`causeway undo-failover %s` makes them targets again\n",
        state.c_str(), machine.c_str(), machine.c_str());
}

// Whether the failover in place in force, or one that is said again, is at this point.
bool is_at(const MachineRecord& record, const PointId& point) {
    if (record.targets_made > 0 && record.point == point) {
        return true;
    }
    const auto last = std::find_if(record.jobs.rbegin(), record.jobs.rend(), [](const Job& job) {
        return job.in_place || job.verb == Verb::undo ||
               (job.verb == Verb::failover && job.state == JobState::succeeded);
    });
    return last != record.jobs.rend() && last->in_place && last->point == point;
}

// Whether a failover is refused whatever its point: begin_job() says why.
bool is_refused(const MachineRecord& record) {
    return !transition_of(record.state, Verb::failover) ||
           std::ranges::any_of(record.jobs, [](const Job& job) {
               return job.verb != Verb::drill && job.state == JobState::running;
           });
}

// Where somebody has made a target a point, the newest that all of them can become may be far from
// the newest that there is: nobody is to be brought back there without having said so.
// Errors: transition_refused; those of Site::switched_targets().
Result<void> check_chosen(Cli& cli, const OpenedCatalog& opened, MachineRecords& records,
                          const PointId& point) {
    const std::string machine = to_string(opened.catalog->machine());
    CW_TRY_ASSIGN(const auto switched, opened.site->switched_targets(opened.catalog->machine()));
    CW_TRY_ASSIGN(const MachineRecord stored, records.load(opened.catalog->machine()));
    const MachineRecord record = as_it_stands(stored, cli.seams.clock->wall());
    if (switched.empty() || is_refused(record) || is_at(record, point)) {
        return {};
    }
    const SwitchedTarget& first = switched.front();
    return std::unexpected(Error{
        Errc::transition_refused,
        "failover: " + first.path + " is " + first.phase + ", point " + to_string(first.point) +
            ", and no failover in place on record has chosen that: say --point POINT",
        "causeway failover " + machine + " --point " + to_string(first.point) +
            ", which brings the machine back there; or causeway target cancel " + machine +
            " DISK for each such target makes it a target again"});
}

}  // namespace

Result<void> target_failover(Cli& cli, const OpenedCatalog& opened, const vault::PointEntry& point,
                             bool named) {
    const std::string machine = to_string(opened.catalog->machine());
    CW_TRY_ASSIGN(std::string socket, cli.socket_path());
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    if (!named) {
        CW_TRY(check_chosen(cli, opened, *records, point.id));
    }
    CW_TRY_ASSIGN(const auto job, ShownJob::begin(cli, *records,
                                                  {.machine = opened.catalog->machine(),
                                                   .verb = Verb::failover,
                                                   .point = point.id,
                                                   .point_time = point.source_time,
                                                   .in_place = true},
                                                  "switched"));
    stop_on_signals();  // From here on there is something to tell.
    FailoverInPlace work(cli, machine, point, std::move(socket));
    CW_TRY_ASSIGN(const json targets, job->outcome(work.run(*job)));
    JobEnd end;
    end.point = point.id;
    end.point_time = point.source_time;
    end.manifest = opened.catalog->state().newest.number;
    end.detail = "in place";
    for (const json& target : targets) {
        end.detail += " " + target.value("path", "");
    }
    end.targets_made = static_cast<std::uint16_t>(targets.size());
    CW_TRY_ASSIGN(const MachineRecord record, job->end(end));
    print_switched(cli, machine, point, targets, record);
    return {};
}

}  // namespace cw::appliance
