#include "ingest/session_table.h"

#include "base/assert.h"
#include "base/log.h"
#include "ingest/wire/messages.h"

#include <algorithm>

namespace cw::ingest {
namespace {

constexpr std::size_t boots_max = 8, entries_max = 65'536;
constexpr unsigned returns_max = 3;
constexpr std::int64_t quiet_ns = 600 * ns_per_s;

std::string subject_of(const MachineId& machine) {
    return "machine " + to_string(machine);
}

std::string subject_of(const MachineId& machine, const DiskId& disk) {
    return subject_of(machine) + " disk " + to_string(disk);
}

}  // namespace

SessionTable::SessionTable(Clock& clock, Random& random, Conditions& conditions)
    : clock_(clock),
      conditions_(conditions),
      last_session_(static_cast<std::uint32_t>(random.below(1U << 31))) {}

Result<Admission> SessionTable::admit(const MachineId& machine, std::uint64_t boot_counter) {
    const std::scoped_lock lock(mutex_);
    Entry& entry = attempted(machine, clock_.boot());
    if (entry.clash) {
        return fail(Errc::identity_refused, "two agents use this identity by turns");
    }
    const Result<void> noted = note_boot(machine, entry, boot_counter);
    if (entry.fenced) {
        entry.fenced->store(true, std::memory_order_release);
        entry.fenced.reset();
        --live_;
    }
    if (!noted) {
        return std::unexpected(noted.error());
    }
    do {
        ++last_session_;
    } while (last_session_ == 0);  // 0 is no session.
    entry.session = SessionId{last_session_};
    entry.fenced = std::make_shared<std::atomic<bool>>(false);
    ++live_;
    remember_quarantines(machine, *entry.memory);
    return Admission{entry.session, entry.fenced, entry.memory};
}

void SessionTable::leave(const MachineId& machine, SessionId session) {
    const std::scoped_lock lock(mutex_);
    const auto it = entries_.find(machine);
    if (it != entries_.end() && it->second.session == session && it->second.fenced) {
        it->second.fenced->store(true, std::memory_order_release);
        it->second.fenced.reset();
        CW_ASSERT(live_ > 0);
        --live_;
    }
}

void SessionTable::end_session(const MachineId& machine) {
    const std::scoped_lock lock(mutex_);
    const auto it = entries_.find(machine);
    if (it != entries_.end() && it->second.fenced) {
        it->second.fenced->store(true, std::memory_order_release);
        it->second.fenced.reset();
        --live_;
    }
}

SessionTable::Attempt SessionTable::attempt(const MachineId& machine, double attempts_burst) {
    const std::scoped_lock lock(mutex_);
    const Nanos now = clock_.boot();
    Entry& entry = attempted(machine, now);
    if (entry.clash) {
        return Attempt::clashing;
    }
    const double forgotten = static_cast<double>(now - entry.spent_at) / ns_per_s;
    entry.spent = std::max(0.0, entry.spent - forgotten);
    entry.spent_at = now;
    if (entry.spent > attempts_burst - 1) {
        return Attempt::too_often;
    }
    entry.spent += 1;
    return Attempt::welcome;
}

void SessionTable::forgive(const MachineId& machine) {
    const std::scoped_lock lock(mutex_);
    if (const auto it = entries_.find(machine); it != entries_.end()) {
        end_clash(machine, it->second);
    }
    // The state stays refused: it is raised again when its agent asks again.
    conditions_.clear(Errc::state_superseded, subject_of(machine));
}

void SessionTable::tick() {
    const std::scoped_lock lock(mutex_);
    if (clashes_ == 0) {
        return;
    }
    const Nanos now = clock_.boot();
    for (auto& [machine, entry] : entries_) {
        if (entry.clash && now - entry.last_attempt > quiet_ns) {
            end_clash(machine, entry);
        }
    }
}

void SessionTable::quarantine(Quarantine what) {
    const std::scoped_lock lock(mutex_);
    conditions_.raise(Errc::seq_conflict, subject_of(what.machine, what.disk), what.why);
    const std::pair key(what.machine, what.disk);
    const auto first = quarantined_.lower_bound({what.machine, DiskId{}});
    const auto mine = [&](const auto& item) { return item.first.first == what.machine; };
    // A hostile machine may name ever other disks; what it loses with its first is its own.
    if (!quarantined_.contains(key) &&
        static_cast<std::size_t>(std::ranges::count_if(quarantined_, mine)) >= wire::disks_max) {
        conditions_.clear(Errc::seq_conflict, subject_of(first->first.first, first->first.second));
        quarantined_.erase(first);
    }
    quarantined_.insert_or_assign(key, std::move(what));
}

void SessionTable::end_quarantine(const MachineId& machine, const DiskId& disk) {
    const std::scoped_lock lock(mutex_);
    quarantined_.erase({machine, disk});
    conditions_.clear(Errc::seq_conflict, subject_of(machine, disk));
}

void SessionTable::refused_state(const MachineId& machine, const std::string& why) {
    log_warning("ingest.state_superseded", {{"machine", machine}, {"why", why}});
    const std::scoped_lock lock(mutex_);
    const auto it = entries_.find(machine);
    if (it != entries_.end() && !it->second.boots.empty()) {
        // Its own, or that of one that has come since. It takes no turn: nobody clashes with it.
        it->second.boots.pop_back();
    }
    conditions_.raise(Errc::state_superseded, subject_of(machine), why);
}

void SessionTable::took_state(const MachineId& machine) {
    conditions_.clear(Errc::state_superseded, subject_of(machine));
}

std::vector<SessionTable::Quarantine> SessionTable::quarantines() const {
    const std::scoped_lock lock(mutex_);
    std::vector<Quarantine> out;
    out.reserve(quarantined_.size());
    for (const auto& [key, what] : quarantined_) {
        out.push_back(what);
    }
    return out;
}

void SessionTable::remember_quarantines(const MachineId& machine, StreamMemory& memory) const {
    for (auto it = quarantined_.lower_bound({machine, DiskId{}});
         it != quarantined_.end() && it->first.first == machine; ++it) {
        memory.quarantine(it->second.disk, it->second.generation, it->second.why);
    }
}

std::size_t SessionTable::live_count() const {
    const std::scoped_lock lock(mutex_);
    return live_;
}

// A start of the agent has a new counter, above the former ones. One that was displaced by another
// and comes back, or one below its predecessor, belongs to a second agent.
Result<void> SessionTable::note_boot(const MachineId& machine, Entry& entry, std::uint64_t boot) {
    if (!entry.boots.empty() && entry.boots.back() == boot) {
        return {};  // The same agent reconnects.
    }
    const Nanos now = clock_.boot();
    // A count that nobody has shown yet is a start, also if it is lower: an agent that lost its
    // state, or got an old copy back. Only the counts of older agents tell no start from another.
    const bool plain = boot >> 32 == 0;
    const bool returned = std::ranges::find(entry.boots, boot) != entry.boots.end() ||
                          (plain && !entry.boots.empty() && boot < entry.boots.back());
    std::erase(entry.boots, boot);
    entry.boots.push_back(boot);
    if (entry.boots.size() > boots_max) {
        entry.boots.pop_front();
    }
    if (!returned) {
        return {};
    }
    if (now - entry.last_return > quiet_ns) {
        entry.returns = 0;
    }
    entry.last_return = now;
    if (++entry.returns <= returns_max) {
        return {};
    }
    entry.clash = true;
    ++clashes_;
    conditions_.raise(Errc::identity_refused, subject_of(machine),
                      "two agents use this identity by turns; re-enrol one of them");
    log_warning("ingest.identity_clash", {{"machine", machine}});
    return fail(Errc::identity_refused, "two agents use this identity by turns");
}

SessionTable::Entry& SessionTable::attempted(const MachineId& machine, Nanos now) {
    if (entries_.size() >= entries_max) {
        drop_idle_entries(now);
    }
    Entry& entry = entries_[machine];
    if (entry.clash && now - entry.last_attempt > quiet_ns) {
        end_clash(machine, entry);
    }
    entry.last_attempt = now;
    return entry;
}

void SessionTable::end_clash(const MachineId& machine, Entry& entry) {
    clashes_ -= entry.clash ? 1 : 0;
    entry.clash = false;
    entry.returns = 0;
    entry.boots.clear();
    conditions_.clear(Errc::identity_refused, subject_of(machine));
}

void SessionTable::drop_idle_entries(Nanos now) {
    std::erase_if(entries_, [&](const auto& item) {
        const Entry& entry = item.second;
        return !entry.fenced && !entry.clash && now - entry.last_attempt > quiet_ns;
    });
}

}  // namespace cw::ingest
