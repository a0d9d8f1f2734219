#include "appliance/maintenance.h"

#include "base/assert.h"
#include "base/log.h"
#include "recovery/compact.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <set>

#include <pthread.h>

namespace cw::appliance {
namespace {

constexpr std::size_t requests_at_once = 4;
constexpr std::size_t gc_memory_bytes_max = 64ULL << 20;
// Names that one manifest drops at most: it stays a small object.
constexpr std::size_t dropped_at_once = 16384;
constexpr std::int64_t hour_us = 3600 * 1'000'000LL;

std::string subject_of(const MachineId& machine) {
    return "upkeep of machine " + to_string(machine);
}

}  // namespace

Result<recovery::GcReport> collect_and_remember(blob::BlobStore& store, vault::KeyService& kek,
                                                const vault::ServerSigner& signer,
                                                const MachineId& machine, Disk& disk,
                                                const std::string& path,
                                                const recovery::GcOptions& options,
                                                WallMicros now) {
    recovery::GcMemory memory;
    CW_TRY_ASSIGN(const bool known, disk.exists(path));
    if (known) {
        CW_TRY_ASSIGN(const ByteVector bytes, read_file(disk, path, gc_memory_bytes_max));
        memory = recovery::parse_gc_memory(as_text(bytes));
    }
    auto report = recovery::collect_garbage(store, kek, machine, signer, memory, options, now);
    if (!options.dry_run) {
        const std::string text = recovery::to_text(memory);
        CW_TRY(write_file_atomically(disk, path, as_bytes(text)));
    }
    return report;
}

Maintenance::Maintenance(Ports ports, const Options& options)
    : ports_(std::move(ports)), options_(options), retention_(options.retention) {}

Maintenance::~Maintenance() {
    stop();
}

void Maintenance::start() {
    CW_ASSERT(!thread_.joinable());
    thread_ = std::thread([this] { run(); });
}

void Maintenance::stop() {
    stopping_.store(true, std::memory_order_release);
    {
        const std::lock_guard lock(mutex_);
        wake_.notify_one();
    }
    if (thread_.joinable()) {
        thread_.join();
    }
}

void Maintenance::set_retention(RetentionTable retention) {
    const std::lock_guard lock(mutex_);
    retention_ = std::move(retention);
}

RetentionTable Maintenance::retention() {
    const std::lock_guard lock(mutex_);
    return retention_;
}

void Maintenance::run() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // Signals are the main thread's.
    while (!stopping_.load(std::memory_order_acquire)) {
        {
            std::unique_lock lock(mutex_);
            wake_.wait_for(lock, std::chrono::nanoseconds(options_.interval_ns),
                           [this] { return stopping_.load(); });
        }
        if (!stopping_.load()) {
            run_once();
        }
    }
}

void Maintenance::run_once() {
    if (store_ == nullptr) {
        store_ = ports_.stores.make();
        gc_store_ = ports_.gc_stores == nullptr ? nullptr : ports_.gc_stores->make();
    }
    const std::vector<OwnedChain> chains = ports_.owned();
    forget_others(chains);
    auto pruned = decide_points(chains);
    for (const OwnedChain& chain : chains) {
        if (stopping_.load()) {
            return;
        }
        report(chain.machine, "upkeep", look_after(chain, pruned[chain.machine]));
    }
}

void Maintenance::forget_others(const std::vector<OwnedChain>& chains) {
    std::set<MachineId> owned;
    for (const OwnedChain& chain : chains) {
        owned.insert(chain.machine);
    }
    std::erase_if(found_, [&](const auto& entry) { return !owned.contains(entry.first); });
}

// Members of a group are decided about together, so all machines' points are looked at first. Time
// alone makes points go: those of a chain that did not change are remembered.
std::map<MachineId, std::vector<PointId>> Maintenance::decide_points(
    const std::vector<OwnedChain>& chains) {
    std::vector<recovery::RetentionPoint> points;
    for (const OwnedChain& chain : chains) {
        if (stopping_.load()) {
            break;
        }
        if (const auto read = read_points(chain); !read) {
            report(chain.machine, "points", read);
            continue;
        }
        for (const vault::PointEntry& point : found_[chain.machine].points) {
            points.push_back({chain.machine, point});
        }
    }
    std::map<MachineId, std::vector<PointId>> pruned;
    for (const recovery::Pruned& gone : plan_pruning(retention(), points, ports_.clock.wall())) {
        pruned[gone.machine].push_back(gone.point);
    }
    return pruned;
}

Result<void> Maintenance::read_points(const OwnedChain& chain) {
    Findings& found = found_[chain.machine];
    if (chain.number != 0 && found.read == chain.number) {
        return {};
    }
    CW_TRY_ASSIGN(const recovery::Catalog catalog,
                  recovery::Catalog::open(*store_, ports_.kek, chain.machine, {}));
    found.points.clear();
    for (const auto& [id, point] : catalog.state().points) {
        found.points.push_back(point);
    }
    found.read = catalog.state().newest.number;
    return {};
}

Result<void> Maintenance::look_after(const OwnedChain& chain, const std::vector<PointId>& pruned) {
    const Findings& found = found_[chain.machine];
    if (!pruned.empty() || chain.number == 0 || found.tidy != chain.number) {
        CW_TRY(tidy(chain.machine, pruned));
    }
    const bool written = chain.number == 0 || found.collected != chain.number;
    const bool due = ports_.clock.boot() - found.collect_again >= 0;
    return gc_store_ != nullptr && (written || due) ? collect(chain) : Result<void>();
}

Result<void> Maintenance::tidy(const MachineId& machine, const std::vector<PointId>& pruned) {
    CW_TRY_ASSIGN(const recovery::Catalog catalog,
                  recovery::Catalog::open(*store_, ports_.kek, machine, {}));
    upload::PruneCommand command;
    command.machine = machine;
    command.decided_at = catalog.state().newest.number;
    for (const PointId& id : pruned) {
        if (catalog.state().points.contains(id)) {
            command.points.push_back(id);
        }
    }
    recovery::Fetcher fetcher(*store_, requests_at_once);
    recovery::SpaceOptions options;
    options.cancelled = [this] { return stopping_.load(); };
    const std::set<PointId> gone(command.points.begin(), command.points.end());
    CW_TRY_ASSIGN(recovery::SpacePlan plan,
                  plan_space(fetcher, catalog, gone, found_[machine].space, options));
    const bool more = plan.more;
    if (plan.dead.size() > dropped_at_once) {
        plan.dead.resize(dropped_at_once);  // The rest is as dead in the next round.
    }
    command.dropped = std::move(plan.dead);
    CW_TRY(rewrite(catalog, fetcher, plan, command));
    if (command.points.empty() && command.dropped.empty()) {
        found_[machine].tidy = more ? 0 : command.decided_at;
        return {};
    }
    log_info("upkeep.decided", {{"machine", machine},
                                {"points", command.points.size()},
                                {"dropped", command.dropped.size()},
                                {"rewritten", command.added.size()},
                                {"dead_bytes", plan.dead_bytes}});
    ports_.prune(std::move(command));
    return {};
}

Result<void> Maintenance::rewrite(const recovery::Catalog& catalog, recovery::Fetcher& fetcher,
                                  const recovery::SpacePlan& plan, upload::PruneCommand& command) {
    std::uint64_t written = 0;
    for (const recovery::Rewrite& rewrite : plan.rewrites) {
        if (stopping_.load() || written + rewrite.alive_bytes > options_.rewrite_bytes_max ||
            command.dropped.size() + rewrite.from.size() > dropped_at_once) {
            break;  // The rest is found again in the next round.
        }
        CW_TRY_ASSIGN(vault::SegmentRef ref,
                      compact(*store_, fetcher, catalog, rewrite, ports_.random));
        written += ref.object_bytes;
        command.added.push_back(std::move(ref));
        for (const vault::SegmentRef* const from : rewrite.from) {
            command.dropped.push_back(from->name);
        }
    }
    return {};
}

Result<void> Maintenance::collect(const OwnedChain& chain) {
    const MachineId& machine = chain.machine;
    recovery::GcOptions options;
    options.dry_run = false;
    options.grace_us = options_.grace_us;
    CW_TRY_ASSIGN(const recovery::GcReport report,
                  collect_and_remember(*gc_store_, ports_.kek, ports_.signer, machine, ports_.disk,
                                       ports_.state_dir + "/gc-" + to_string(machine), options,
                                       ports_.clock.wall()));
    // What nobody names becomes garbage by waiting, and an upload that was given up may be among
    // it.
    const bool waiting = report.unnamed_segments > report.deleted_segments;
    const std::int64_t pause_us =
        waiting ? std::min(options_.grace_us, hour_us) : options_.grace_us;
    Findings& found = found_[machine];
    found.collected = report.deleted_segments < options.sweep_max ? chain.number : 0;
    found.collect_again = ports_.clock.boot() + pause_us * 1000;
    if (report.deleted_segments + report.deleted_manifests > 0) {
        log_info("upkeep.collected", {{"machine", machine},
                                      {"segments", report.deleted_segments},
                                      {"bytes", report.deleted_bytes},
                                      {"manifests", report.deleted_manifests},
                                      {"locked", report.immutable}});
    }
    return {};
}

void Maintenance::report(const MachineId& machine, const char* what, const Result<void>& result) {
    const auto before = troubles_.find(machine);
    if (before != troubles_.end() && (result || result.error().code != before->second.code)) {
        ports_.conditions.clear(before->second.code, subject_of(machine));
        troubles_.erase(before);
    }
    if (result || result.error().code == Errc::cancelled) {
        return;
    }
    log_warning("upkeep.failed", {{"machine", machine}, {"what", what}, {"error", result.error()}});
    ports_.conditions.raise(result.error().code, subject_of(machine), result.error().detail);
    troubles_.insert_or_assign(machine, result.error());
}

}  // namespace cw::appliance
