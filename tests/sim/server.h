// Server: one process-server machine: its disk, its state directory, and the process that runs on
// it now and then. It is restarted as systemd would, whatever ended the process.
// Thread-safety: none.
#pragma once

#include "tests/sim/cache_damage.h"
#include "tests/sim/process.h"

#include <map>
#include <memory>
#include <optional>

namespace cw::sim {

class Server {
public:
    Server(World& world, std::size_t index);
    // A copy of `original`, its disk and its state directory, as a snapshot has them.
    Server(World& world, std::size_t index, const Server& original);
    ~Server();

    void kill(bool power_cut);
    // The same, but soon, while its disk is at work: now if strike() finds that it has come to it.
    void kill_at_work(bool power_cut);
    void strike(const char* counted = "fault.struck_at_work");
    // For good, with its disk and its state directory. A new machine takes its place.
    void lose();
    void pause(std::int64_t ns);
    // At the top level only: removes what is dead, restarts what should run, ticks.
    void tend();
    // No faults of its device any more; it runs from here on.
    void end_faults();

    [[nodiscard]] bool up() const noexcept { return process_ && process_->ready(); }
    [[nodiscard]] bool awake() const;
    [[nodiscard]] Nanos wakes_at() const noexcept { return std::max(paused_until_, restart_at_); }
    [[nodiscard]] Process* process() noexcept { return up() ? process_.get() : nullptr; }
    [[nodiscard]] fakes::SimStorage& storage() noexcept { return *storage_; }
    // Its state directory is put back to the day before it met any machine.
    void forget_witnesses() noexcept { state_.witnesses.clear(); }
    // What it told people when it did not start, the last time that it tried.
    [[nodiscard]] std::optional<Errc> start_refused() const noexcept { return start_refused_; }
    // It has told an agent where it stands.
    void welcomed();
    // When its power goes, if that is settled.
    [[nodiscard]] Nanos cut_at() const noexcept { return cut_at_.value_or(Nanos{INT64_MAX}); }
    // Something happens to what the cache holds: see cache_damage.h.
    bool damage_cache();
    // One of two copies rots while the server is down.
    void rot_one_copy();
    // What was acknowledged may have been damaged by more than the promise covers.
    [[nodiscard]] bool damaged() const noexcept;
    // Writes that went astray before the start that is under way, or in it, ended the log.
    [[nodiscard]] bool log_ended() const {
        return log_ended_ || strayed_behind(log_end_, storage_->astray());
    }
    // For a person: how full its cache is, and what stands.
    [[nodiscard]] std::string state() const;
    void add_counts();
    // What hour it is there, against all others.
    void set_clock(std::int64_t ahead_us) noexcept { state_.clock_ahead_us = ahead_us; }

private:
    std::unique_ptr<fakes::SimStorage> make_storage(const fakes::FaultPlan& plan);
    void replace();
    // Its device is new.
    void fill_disk();
    void take_down(bool power_cut);
    void let_writes_stray();

    World& world_;
    std::size_t index_;
    std::unique_ptr<fakes::SimStorage> storage_;
    ServerState state_;
    std::unique_ptr<Process> process_;
    Nanos restart_at_{}, paused_until_{}, next_tick_{};
    std::optional<Nanos> cut_at_;
    std::optional<Errc> start_refused_;
    bool restarted_ = false;  // And has not told anybody since.
    bool strike_cuts_power_ = false, strike_is_second_ = false;
    unsigned failed_starts_ = 0;
    bool damaged_ = false, lost_ = false, log_ended_ = false;
    LogEnd log_end_;  // As the start that is under way, or was the last, found it.
};

}  // namespace cw::sim
