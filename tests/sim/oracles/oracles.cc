#include "tests/sim/oracles/oracles.h"

#include "recovery/group_table.h"
#include "tests/sim/machine.h"
#include "tests/sim/operator.h"
#include "tests/sim/peek_store.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

#include <algorithm>
#include <cstring>

namespace cw::sim {
namespace {

bool unavailable(const Error& error) {
    return error.code == Errc::blob_unavailable || error.code == Errc::blob_throttled;
}

Complain complain_to(World& world) {
    return [&world](std::string oracle, std::string what) {
        world.violated(std::move(oracle), std::move(what));
    };
}

// "…/machine/disk/…", where no disk has the nil id.
bool index_run(const blob::BlobName& name) {
    static const std::string nil = '/' + to_string(DiskId{}) + '/';
    return name.container == blob::Container::data && name.name.find(nil) != std::string::npos;
}

ByteVector gathered(const blob::PutRequest& request) {
    ByteVector out;
    for (const Bytes part : request.body) {
        out.insert(out.end(), part.begin(), part.end());
    }
    return out;
}

}  // namespace

Oracles::Oracles(World& shared)
    : world(shared),
      durability(complain_to(shared)),
      points(complain_to(shared)),
      nonces(complain_to(shared)),
      fencing(complain_to(shared)),
      credit(complain_to(shared)),
      memory(complain_to(shared)),
      gc(complain_to(shared)),
      spool(complain_to(shared),
            [this](const pipeline::StreamKey& key) { return committed_in_vault(key); }),
      leaks(complain_to(shared)),
      seals(complain_to(shared)),
      tampering(complain_to(shared)),
      groups(complain_to(shared)),
      keys(complain_to(shared)),
      convergence(complain_to(shared)),
      idle(complain_to(shared)),
      condition(complain_to(shared)) {}

void Oracles::on_put(const blob::PutRequest& request) {
    const ByteVector object = gathered(request);
    const Sha256 content = sha256(object);
    std::uint64_t begin = 0;
    std::memcpy(&begin, content.data(), sizeof begin);
    world.event("put " + to_string(request.name), object.size(), begin);
    nonces.on_put(request, object, content);
    fencing.on_put(request, content);
}

void Oracles::on_remove(const blob::BlobName& name) {
    world.event("remove " + to_string(name));
    fencing.on_remove(name);
}

void Oracles::on_stored(const blob::BlobName& name) {
    const bool run = index_run(name);
    runs_stored += run ? 1 : 0;
    segments_stored += name.container == blob::Container::data && !run ? 1 : 0;
    manifests_stored += name.container == blob::Container::manifest ? 1 : 0;
}

void Oracles::on_removed(const blob::BlobName& name) {
    runs_removed += index_run(name) ? 1 : 0;
}

// By its etag nobody reads but whoever has just stored it.
void Oracles::on_got(const blob::BlobName& name, bool by_etag) {
    read_back += by_etag ? 1 : 0;
    runs_read += index_run(name) ? 1 : 0;
}

void Oracles::on_committed(std::size_t server, const pipeline::Committed& committed) {
    durability.on_committed(server, committed);
    spool.on_committed(committed);
    points.on_committed(committed);
    fencing.on_committed(committed);
}

void Oracles::on_answered(std::size_t server, const pipeline::MachineOpened& opened) {
    durability.on_answered(server, opened);
    spool.on_opened(opened);
    for (const auto& machine : world.machines) {
        machine->on_answered(opened);
    }
}

std::optional<Seq> Oracles::committed_in_vault(const pipeline::StreamKey& key) const {
    const auto store = make_peek_store(world.vault);
    const auto catalog = recovery::Catalog::open(*store, *world.kek, key.machine, {});
    if (!catalog) {
        return std::nullopt;
    }
    const auto& disks = catalog->state().newest.disks;
    const auto found = std::ranges::find(disks, key.disk, &vault::DiskEntry::disk);
    const bool same = found != disks.end() && found->generation == key.generation;
    // A newer history has taken its place.
    const bool replaced = found != disks.end() && found->generation > key.generation;
    return replaced ? Seq{UINT64_MAX} : same ? found->committed : Seq{};
}

void Oracles::on_recovered(std::size_t server, const cache::Spool& recovered) {
    durability.on_recovered(server, recovered,
                            world.servers[server]->log_ended() ? DeviceState::ended
                            : world.servers[server]->damaged() ? DeviceState::damaged
                                                               : DeviceState::whole);
}

void Oracles::verify(bool again, bool may_fail) {
    const auto store = world.readers->make();
    std::set<MachineId> seen;
    for (const auto& machine : world.machines) {
        if (!seen.insert(machine->id()).second) {
            continue;  // A copy: its points are with the others.
        }
        const auto catalog = recovery::Catalog::open(*store, *world.kek, machine->id(), {});
        if (!catalog) {
            if (!may_fail || !Operator::transient(catalog.error())) {
                world.violated("points",
                               "the vault cannot be opened: " + to_string(catalog.error()));
            }
            continue;
        }
        // With faults about, a store may be away; and what is gone must have been pruned.
        const auto excuse = [&](const Error& error, const PointId& point) {
            if (unavailable(error)) {
                return true;
            }
            // A server that slept past the collector's grace has named what is gone, and nobody has
            // opened its chain since to mend it. It has told nobody that the point is committed.
            if (error.code == Errc::blob_not_found && !points.committed(machine->id(), point)) {
                return true;
            }
            // Who reads for longer than the grace time must look anew: pruned, or written again.
            const auto now = recovery::Catalog::open(*store, *world.kek, machine->id(), {});
            if (!now) {
                return Operator::transient(now.error());
            }
            const bool pruned = !now->state().points.contains(point);
            world.trace.count("seen.pruned_while_read", pruned ? 1 : 0);
            if (pruned) {
                return true;
            }
            const auto moved = points.readable(*store, *now, point, machine->points());
            world.trace.count("seen.moved_while_read", moved && *moved ? 1 : 0);
            return moved ? *moved : unavailable(moved.error());
        };
        const std::size_t compared =
            points.verify(*store, *catalog, machine->points(), again,
                          may_fail ? PointOracle::Excuse(excuse) : PointOracle::Excuse());
        world.trace.count("promise.point_equals_disks", compared);
        if (!may_fail) {
            points.check_complete(*catalog);
        }
    }
    fencing.check([this](const blob::BlobName& name) { return world.vault.bytes(name); });
    verify_groups(may_fail);
}

void Oracles::verify_groups(bool may_fail) {
    if (!world.group) {
        return;
    }
    const auto store = world.readers->make();
    recovery::GroupTable table;
    std::set<GroupId> all;
    for (const auto& machine : world.machines) {
        const auto catalog = recovery::Catalog::open(*store, *world.kek, machine->id(), {});
        if (!catalog) {
            if (!may_fail) {
                world.violated("groups",
                               "the vault cannot be opened: " + to_string(catalog.error()));
            }
            return;
        }
        table.add(*catalog);
        for (const vault::PointEntry* point : catalog->points()) {
            all.insert(point->group);
        }
    }
    all.erase(GroupId{});
    for (const GroupId& group : all) {
        if (!table.judge(group).whole) {
            continue;
        }
        std::vector<std::uint64_t> counters;
        for (const auto& machine : world.machines) {
            const vault::PointEntry* const point = table.point_of(machine->id(), group);
            CW_ASSERT(point != nullptr);
            // That the vault holds these very bytes is for the other oracle.
            const auto made = machine->points().find(point->id);
            if (made != machine->points().end()) {
                counters.push_back(Machine::counter_in(made->second.begin()->second));
            }
        }
        if (counters.size() == 2) {
            groups.check(group, counters[0], counters[1]);
        }
    }
}

void Oracles::check_newest(Machine& machine) {
    const auto newest = machine.newest_point();
    convergence.check(newest && machine.points().at(*newest) == machine.images(),
                      machine.left_out(world.settings.disks - 1), machine.untold());
}

void Oracles::check_vault() {
    const auto store = world.readers->make();
    const std::vector<blob::BlobName> names = world.vault.names();
    const std::set<blob::BlobName> present(names.begin(), names.end());
    std::vector<recovery::Catalog> chains;
    for (const auto& machine : world.machines) {
        auto catalog = recovery::Catalog::open(*store, *world.kek, machine->id(), {});
        if (!catalog) {
            world.violated("gc", "the vault cannot be opened: " + to_string(catalog.error()));
            return;
        }
        gc.check_named(catalog->state(), present);
        chains.push_back(std::move(*catalog));
    }
    leaks.check(names, chains);
}

void Oracles::add_counts() const {
    const std::pair<const char*, Looks> all[] = {
        {"promise.spooled_survives", durability.recovered},
        {"promise.welcome_never_goes_back", durability.told_again},
        {"promise.committed_point_is_there", points.complete},
        {"promise.one_content_per_key", nonces.keys},
        {"promise.one_content_per_name", fencing.names},
        {"promise.one_manifest_per_number", fencing.manifests},
        {"promise.credit_comes_back", credit.looks},
        {"promise.memory_comes_back", memory.looks},
        {"promise.named_segment_is_kept", gc.segments},
        {"promise.nothing_is_left_behind", leaks.objects},
        {"promise.one_message_per_key_and_nonce", seals.seals},
        {"promise.tampered_point_is_right", tampering.right},
        {"promise.server_stops_at_tampering", tampering.met},
        {"seen.tampering_refused", tampering.refused},
        {"promise.group_point_is_a_moment", groups.points},
        {"promise.let_go_when_committed", spool.let_go},
        {"promise.empty_when_all_is_committed", spool.emptied},
        {"promise.replaced_key_opens_nothing", keys.replaced},
        {"promise.machine_converges", convergence.machines},
        {"promise.idle_stage_sleeps", idle.turns},
        {"promise.condition_is_over", condition.servers},
        {"seen.index_run_stored", runs_stored},
        {"seen.index_run_read", runs_read},
        {"seen.segment_read_back", read_back},
        {"gc.deleted_index_runs", runs_removed}};
    for (const auto& [name, looks] : all) {
        world.trace.count(name, looks);
    }
}

void Oracles::check_resources() {
    for (const auto& server : world.servers) {
        if (Process* const process = server->process(); process != nullptr && process->quiet()) {
            credit.check(process->credit().reserved(), process->door().unused_credit());
            memory.check(process->slabs_out(), "although nothing is queued");
        }
    }
}

// What a server holds of a machine that another one has fenced it keeps.
void Oracles::check_rest() {
    for (std::size_t i = 0; i < world.servers.size(); ++i) {
        Process* const process = world.servers[i]->process();
        if (!world.servers[i]->up()) {
            continue;
        }
        condition.check(process->conditions().list());
        if (process->quiet() && !process->conditions().standing(Errc::fenced)) {
            spool.check_empty(i, process->spool().usage().live);
        }
    }
}

}  // namespace cw::sim
