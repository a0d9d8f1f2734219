#include "appliance/proof_watch.h"

#include "appliance/read_access.h"

#include <chrono>

namespace cw::appliance {
namespace {

constexpr std::chrono::seconds look_pause{60};

// A store that does not answer has conditions of its own.
bool is_of_record(Errc code) {
    return code == Errc::object_corrupt || code == Errc::format_unsupported;
}

}  // namespace

void OverdueProofs::look(const std::vector<MachineId>& machines, MachineRecords& records,
                         std::int64_t limit_us, WallMicros now) {
    for (const MachineId& machine : machines) {
        const std::string subject = "machine " + to_string(machine);
        const auto record = records.load(machine);
        if (record || is_of_record(record.error().code)) {
            unreadable_.try_emplace(machine, conditions_, "state of " + subject)
                .first->second.show(record || limit_us == 0 ? Result<void>{}
                                                            : std::unexpected(record.error()));
        }
        if (!record) {
            continue;
        }
        const std::int64_t age_us = raw(now) - raw(record->proven_time);
        if (limit_us == 0 || (!record->proven.is_nil() && age_us <= limit_us)) {
            conditions_.clear(Errc::proof_overdue, subject);
            continue;
        }
        conditions_.raise(Errc::proof_overdue, subject,
                          record->proven.is_nil()
                              ? "no point was ever proven by a drill"
                              : "the newest proven point is " +
                                    std::to_string(age_us / 3'600'000'000) + " h old");
    }
}

ProofWatch::ProofWatch(const config::Settings& settings, Conditions& conditions)
    : settings_(settings),
      seams_(make_system_seams()),
      proofs_(conditions),
      limit_ms_(settings.points_proof_limit_ms),
      thread_([this] { run(); }) {}

ProofWatch::~ProofWatch() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
}

void ProofWatch::set_limit_ms(std::uint64_t limit_ms) {
    {
        const std::lock_guard lock(mutex_);
        changed_ = limit_ms_ != limit_ms;
        limit_ms_ = limit_ms;
    }
    wake_.notify_all();
}

void ProofWatch::run() {
    std::unique_lock lock(mutex_);
    std::uint64_t looked_with = 0;
    while (!stopping_) {
        const std::uint64_t limit_ms = limit_ms_;
        changed_ = false;
        if (limit_ms != 0 || looked_with != 0) {  // Once more after it was switched off: clears.
            lock.unlock();
            const auto access = open_vault_access(settings_, seams_);
            if (access) {
                const auto store = access->stores->make();
                MachineRecords records(*store, access->identity);
                const auto site = make_site(settings_, seams_, *access, *store);
                if (const auto machines = site->machines()) {
                    proofs_.look(*machines, records, static_cast<std::int64_t>(limit_ms) * 1000,
                                 seams_.clock->wall());
                }
                looked_with = limit_ms;
            }
            lock.lock();
        }
        wake_.wait_for(lock, look_pause, [this] { return stopping_ || changed_; });
    }
}

}  // namespace cw::appliance
