#include "appliance/process.h"

#include "appliance/descriptors.h"
#include "appliance/notify.h"
#include "appliance/order_body.h"
#include "appliance/server_state.h"
#include "appliance/start_check.h"
#include "base/crash_point.h"
#include "base/log.h"

#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <thread>

#include <nlohmann/json.hpp>
#include <sys/signalfd.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

std::uint64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::uint64_t total = 0, resident = 0;
    file >> total >> resident;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string host_name() {
    char name[256] = {};
    ::gethostname(name, sizeof name - 1);
    return name;
}

// Obeys SIGTERM and SIGINT while the daemon starts, which may take minutes when its vault does not
// answer. Death at any moment is safe, and this process has promised nothing yet.
class StartWatch {
public:
    explicit StartWatch(const sigset_t& signals)
        : thread_([signals](const std::stop_token& started) {
              const timespec pause{.tv_sec = 0, .tv_nsec = 50'000'000};
              sigset_t stopping = signals;
              ::sigdelset(&stopping, SIGHUP);
              while (!started.stop_requested()) {
                  const int signal = ::sigtimedwait(&stopping, nullptr, &pause);
                  if (signal > 0) {
                      log_info("appliance.stopping", {{"signal", signal}, {"started", false}});
                      ::_exit(0);
                  }
              }
          }) {}

private:
    std::jthread thread_;
};

// Writes once a second, and a last time when it is asked to stop.
void keep_events(const std::stop_token& stop, EventLog& events) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
        events.tick();
        stopped.wait_for(lock, stop, std::chrono::seconds(1), [] { return false; });
    }
    events.tick();
}

}  // namespace

Result<config::Settings> Process::load(Disk& disk) const {
    CW_TRY_ASSIGN(config::Settings settings, config::load_settings(disk, arguments_.config_path));
    if (!arguments_.role.empty()) {
        settings.server_role = arguments_.role;
    }
    if (settings.server_name.empty()) {
        settings.server_name = host_name();
    }
    CW_TRY(check_start(settings));
    return settings;
}

// The settings with as many connections as there are descriptors for.
Result<config::Settings> Process::fit_connections() {
    const std::uint64_t limit = raise_descriptor_limit();
    CW_TRY_ASSIGN(const std::int64_t connections, connections_within(settings_, limit));
    config::Settings fitted = settings_;
    fitted.ingest_max_connections = connections;
    if (connections < settings_.ingest_max_connections) {
        conditions_.raise(Errc::config_invalid, "ingest.max_connections",
                          "of " + std::to_string(settings_.ingest_max_connections) + " only " +
                              std::to_string(connections) + " fit into " + std::to_string(limit) +
                              " open files: raise LimitNOFILE");
    }
    return fitted;
}

Result<void> Process::start() {
    // Signals are taken by run() through a descriptor; threads started below inherit the mask.
    ::sigemptyset(&signals_);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
        ::sigaddset(&signals_, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    const StartWatch watch(signals_);
    CW_TRY(arm_crash_point_from_environment());

    CW_TRY_ASSIGN(settings_, load(*seams_.disk));
    CW_TRY_ASSIGN(const LogLevel level, parse_log_level(settings_.log_level));
    set_log_level(level);
    CW_TRY_ASSIGN(state_lock_, lock_directory(*seams_.disk, settings_.server_state_dir));
    if (settings_.cache_path != settings_.server_state_dir) {
        CW_TRY_ASSIGN(cache_lock_, lock_directory(*seams_.disk, settings_.cache_path));
    }
    events_ = std::make_unique<EventLog>(conditions_, *seams_.clock, make_posix_disk(),
                                         settings_.server_state_dir + "/events");
    events_->open();
    event_writer_ =
        std::jthread([this](const std::stop_token& stop) { keep_events(stop, *events_); });
    CW_TRY_ASSIGN(server_id_,
                  load_server_id(*seams_.disk, *seams_.random, settings_.server_state_dir));
    CW_TRY(revoked_->reload(*seams_.disk, settings_.security_revoked_file));
    CW_TRY_ASSIGN(const config::Settings fitted, fit_connections());
    CW_TRY_ASSIGN(server_, Server::start(fitted, {seams_, conditions_, server_id_, revoked_}));
    std::fprintf(stderr, "memory budget:\n%s", server_->budget_text().c_str());
    if (settings_.server_role == "process-server") {
        vault_view_ = std::make_unique<VaultView>(settings_);
    }
    CW_TRY(open_enrolment());
    CW_TRY(open_control());
    proof_watch_ = std::make_unique<ProofWatch>(settings_, conditions_);
    log_info("appliance.ready", {{"server", server_id_},
                                 {"role", settings_.server_role},
                                 {"port", server_->port()},
                                 {"control_port", control_->port()}});
    notify_ready("replication on port " + std::to_string(server_->port()));
    return {};
}

Result<void> Process::open_enrolment() {
    if (settings_.security_enrol_ca.empty()) {
        return {};
    }
    CW_TRY_ASSIGN(
        enrolment_,
        EnrolmentDesk::open(
            {.book_path = settings_.server_state_dir + "/enrolment",
             .ca_directory = settings_.security_enrol_ca,
             .tls = control_tls(settings_),
             .valid_s = static_cast<std::int64_t>(settings_.security_enrol_valid_ms / 1000),
             .replication_port = server_->port()},
            {*enrolment_disk_, *seams_.clock, *seams_.random, conditions_}));
    return {};
}

Result<void> Process::open_control() {
    ControlHandlers handlers;
    handlers.metrics = [this] { return seams_.metrics->render(); };
    handlers.get = [this](const std::string& name) { return get(name); };
    handlers.post = [this](const std::string& name, const std::string& body) {
        return post(name, body);
    };
    if (enrolment_) {
        handlers.enrol = [this](const EnrolCall& call) { return enrolment_->enrol(call); };
    }
    CW_TRY_ASSIGN(control_,
                  ControlServer::start({.socket_path = settings_.server_state_dir + "/control.sock",
                                        .listen = settings_.control_listen,
                                        .tls = control_tls(settings_)},
                                       std::move(handlers)));
    return {};
}

Result<EnrolmentDesk*> Process::enrolment() {
    if (!enrolment_) {
        return fail(
            Errc::config_invalid,
            "enrolment is off: security.enrol_ca names no directory with ca.crt and ca.key");
    }
    return enrolment_.get();
}

TlsFiles Process::control_tls(const config::Settings& settings) const {
    return {.ca_file = settings.security_ca_file,
            .cert_file = settings.security_cert_file,
            .key_file = settings.security_key_file,
            .revoked = revoked_};
}

int Process::run() {
    const Fd signals(::signalfd(-1, &signals_, SFD_CLOEXEC | SFD_NONBLOCK));
    bool stopping = false;
    const std::int64_t watchdog_ns = watchdog_interval_ns();
    Nanos next_watchdog = started_;
    while (!stopping) {
        const auto readable = wait_fd(signals.get(), false, 1000);
        if (readable && *readable) {
            handle_signals(signals.get(), stopping);
            continue;
        }
        const bool lively = server_->tick();
        if (enrolment_) {
            enrolment_->tick();
        }
        if (lively && watchdog_ns > 0 && seams_.clock->boot() - next_watchdog >= 0) {
            notify_watchdog();
            next_watchdog = seams_.clock->boot() + watchdog_ns;
        }
        if (const auto error = server_->failed()) {
            log_error("appliance.failed", {{"error", *error}});
            return 1;  // The service manager restarts us into recovery.
        }
    }
    notify_stopping();
    drain(signals.get());
    control_.reset();
    vault_view_.reset();
    proof_watch_.reset();
    server_.reset();
    log_info("appliance.stopped");
    return 0;
}

void Process::handle_signals(int fd, bool& stopping) {
    signalfd_siginfo info{};
    while (::read(fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGHUP) {
            log_info("appliance.stopping", {{"signal", info.ssi_signo}});
            stopping = true;
            continue;
        }
        if (const auto result = reload(); !result) {
            log_error("config.reload_refused", {{"error", result.error()}});
        }
    }
}

// Asked a second time, it leaves out what may wait.
void Process::drain(int signals) {
    const auto limit_ns = static_cast<std::int64_t>(settings_.server_drain_timeout_ms) * ns_per_ms;
    bool again = false;
    server_->drain({.deadline = seams_.clock->boot() + limit_ns, .asked_again = [&] {
                        signalfd_siginfo info{};
                        while (::read(signals, &info, sizeof info) == sizeof info) {
                            again = again || info.ssi_signo != SIGHUP;
                        }
                        return again;
                    }});
}

Result<std::string> Process::reload() {
    // Asked for by a signal or over the control port, from whatever thread.
    const std::unique_ptr<Disk> disk = make_posix_disk();
    const std::lock_guard lock(mutex_);
    CW_TRY_ASSIGN(const config::Settings wanted, load(*disk));
    CW_TRY(config::check_reload(settings_, wanted));
    CW_TRY_ASSIGN(const LogLevel level, parse_log_level(wanted.log_level));
    // What may refuse comes before what takes effect.
    CW_TRY(TlsContext::server(control_tls(wanted)));
    CW_TRY(revoked_->reload(*disk, wanted.security_revoked_file));
    CW_TRY(control_->reload_tls(control_tls(wanted)));
    set_log_level(level);
    server_->apply(wanted);
    if (proof_watch_) {
        proof_watch_->set_limit_ms(wanted.points_proof_limit_ms);
    }
    settings_ = wanted;
    log_info("config.reloaded", {{"file", arguments_.config_path}});
    return std::string("{\"reloaded\": true}");
}

std::string Process::status() {
    DaemonStatus status;
    server_->fill_status(status);
    const std::lock_guard lock(mutex_);
    status.name = settings_.server_name;
    status.server_id = to_string(server_id_);
    status.role = settings_.server_role;
    status.replication_port = server_->port();
    status.control_port = control_ ? control_->port() : std::uint16_t{0};
    status.uptime_s = static_cast<double>(seams_.clock->boot() - started_) / 1e9;
    status.resident_bytes = resident_bytes();
    status.conditions = conditions_.list();
    return status_json(status, judge_health(status, settings_));
}

Result<std::string> Process::get(const std::string& name) {
    if (name == "status") {
        return status();
    }
    constexpr std::string_view newest = "events", since = "events?since=";
    if (name == newest || name.starts_with(since)) {
        return events(name == newest ? "" : std::string_view(name).substr(since.size()));
    }
    if (name == "enrol-tokens") {
        CW_TRY_ASSIGN(EnrolmentDesk* const desk, enrolment());
        return desk->list();
    }
    constexpr std::string_view machine = "machines/";
    if (vault_view_ && name.starts_with(machine)) {
        return vault_view_->machine(name.substr(machine.size()));
    }
    return fail(Errc::not_found, "no such resource: " + name);
}

// `since`: microseconds since 1970; empty: the newest.
Result<std::string> Process::events(std::string_view since) {
    constexpr std::size_t events_shown = 500;
    std::int64_t since_us = 0;
    const auto [end, error] = std::from_chars(since.data(), since.data() + since.size(), since_us);
    if (!since.empty() && (error != std::errc{} || end != since.data() + since.size())) {
        return fail(Errc::usage, "since: microseconds since 1970");
    }
    return events_json(
        events_->events(WallMicros{since_us}, since.empty() ? events_shown : EventLog::kept_max));
}

Result<std::string> Process::post(const std::string& name, const std::string& body) {
    if (name == "reload") {
        CW_TRY(read_order(body, {}));
        return reload();
    }
    if (name == "enrol-token" || name == "enrol-token-revoke") {
        CW_TRY_ASSIGN(EnrolmentDesk* const desk, enrolment());
        return name == "enrol-token" ? desk->issue(body) : desk->revoke(body);
    }
    return server_->post(name, body);
}

}  // namespace cw::appliance
