#include "tests/sim/oracles/durability.h"

#include <algorithm>

namespace cw::sim {
namespace {

std::string text_of(const pipeline::StreamKey& key) {
    return "disk " + to_string(key.disk) + " generation " + std::to_string(raw(key.generation));
}

// Nil: it cannot be told whose it was.
bool reported(const cache::Spool& spool, const pipeline::StreamKey& key) {
    return std::ranges::any_of(spool.damaged(), [&](const cache::DamagedRange& range) {
        return range.key == key || range.key.disk.is_nil();
    });
}

}  // namespace

void DurabilityOracle::on_spooled(std::size_t server, const pipeline::Spooled& notice) {
    if (notice.key.disk.is_nil()) {
        return;
    }
    Acked& acked = acked_[{server, notice.key}];
    acked.seq = std::max(acked.seq, notice.durable);
    if (notice.fence > acked.fence) {
        acked.fence = notice.fence;
        acked.ordinals.clear();
    }
    if (notice.fence == acked.fence) {
        acked.ordinals.insert(notice.base_ordinals.begin(), notice.base_ordinals.end());
    }
}

void DurabilityOracle::on_committed(std::size_t server, const pipeline::Committed& committed) {
    for (const pipeline::Committed::Disk& disk : committed.disks) {
        // By itself: one that slept through a takeover still tells what it published before.
        Seq& known = told_[{server, {committed.machine, disk.disk, disk.generation}}];
        if (disk.committed < known && !taken_back_) {
            complain_("durability", "COMMITTED of " + to_string(disk.disk) + " went back from " +
                                        std::to_string(raw(known)) + " to " +
                                        std::to_string(raw(disk.committed)));
        }
        known = std::max(known, disk.committed);
        Seq& newest = committed_[{committed.machine, disk.disk, disk.generation}];
        newest = std::max(newest, known);
    }
}

void DurabilityOracle::on_opened(std::size_t server, const pipeline::MachineOpened& opened) {
    if (opened.refused) {
        return;
    }
    for (const pipeline::DiskWelcome& disk : opened.disks) {
        std::erase_if(acked_, [&](const auto& entry) {
            const pipeline::StreamKey& key = entry.first.second;
            return entry.first.first == server && key.machine == opened.machine &&
                   key.disk == disk.disk && key.generation != disk.generation;
        });
        ++told_again;
        if (disk.action != pipeline::DiskAction::reject) {
            // The agent forgets what WELCOME calls durable: it is as good as an acknowledgement.
            const pipeline::StreamKey key{opened.machine, disk.disk, disk.generation};
            Acked& acked = acked_[{server, key}];
            acked.seq = std::max(acked.seq, disk.durable);
            // What another server committed may never have been told by it.
            Seq& newest = committed_[key];
            newest = std::max(newest, disk.committed);
        }
    }
}

void DurabilityOracle::on_answered(std::size_t server, const pipeline::MachineOpened& opened) {
    if (opened.refused) {
        return;
    }
    for (const pipeline::DiskWelcome& disk : opened.disks) {
        Generation& newest = opened_[{opened.machine, disk.disk}];
        newest = std::max(newest, disk.generation);
        const auto known = told_.find({server, {opened.machine, disk.disk, disk.generation}});
        // Once the adversary has taken manifests back, a server that was made to forget its
        // witnesses and an agent that never heard of them have nothing to know it by.
        if (known != told_.end() && disk.committed < known->second && !taken_back_ &&
            disk.action != pipeline::DiskAction::reject) {
            complain_("durability", "WELCOME of " + to_string(disk.disk) + " knows " +
                                        std::to_string(raw(disk.committed)) +
                                        " as committed, told were " +
                                        std::to_string(raw(known->second)));
        }
    }
}

void DurabilityOracle::on_cloned(std::size_t original, std::size_t copy) {
    std::map<Key, Acked> owed;
    for (const auto& [key, acked] : acked_) {
        if (key.first == original) {
            owed.emplace(Key{copy, key.second}, acked);
        }
    }
    acked_.merge(owed);
}

void DurabilityOracle::on_lost(std::size_t server) {
    std::erase_if(acked_, [&](const auto& entry) { return entry.first.first == server; });
}

void DurabilityOracle::on_recovered(std::size_t server, const cache::Spool& spool,
                                    DeviceState device) {
    const std::vector<cache::StreamState> streams = spool.streams();
    for (auto& [key, acked] : acked_) {
        if (key.first != server) {
            continue;
        }
        ++recovered;
        const auto found = std::ranges::find(streams, key.second, &cache::StreamState::key);
        const Seq held = found == streams.end() ? Seq{} : found->durable;
        if (std::max(held, committed_[key.second]) >= acked.seq) {
            continue;
        }
        // A history that has been replaced, here or at another server, is dropped when its machine
        // is opened here, which a kill may keep this server from telling. Some of it may be there.
        if (opened_[{key.second.machine, key.second.disk}] > key.second.generation) {
            acked.seq = {};
            continue;
        }
        if (device == DeviceState::damaged && !reported(spool, key.second)) {
            complain_("durability", "server " + std::to_string(server) + " lost " +
                                        text_of(key.second) + " from " +
                                        std::to_string(raw(held) + 1) + " on and does not say so");
        }
        if (device == DeviceState::whole) {
            complain_("durability", "server " + std::to_string(server) + " acknowledged " +
                                        std::to_string(raw(acked.seq)) + " of " +
                                        text_of(key.second) + " and came back with " +
                                        std::to_string(raw(held)));
        }
        acked.seq = held;
    }
}

}  // namespace cw::sim
