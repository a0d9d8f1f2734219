#include "tests/sim/oracles/spool.h"

#include <algorithm>
#include <vector>

namespace cw::sim {

void HeldWrites::hold(pipeline::Lsn lsn, const pipeline::RecordHeader& header) {
    if (header.type == pipeline::RecordType::write && header.seq_count > 0) {
        writes_[lsn] = {header.key, header.seq, Seq{raw(header.seq) + header.seq_count - 1}};
    }
}

std::optional<HeldWrites::Write> HeldWrites::let_go(pipeline::Lsn lsn) {
    const auto found = writes_.find(lsn);
    if (found == writes_.end()) {
        return std::nullopt;
    }
    const Write write = found->second;
    writes_.erase(found);
    return write;
}

bool HeldWrites::covers(const pipeline::StreamKey& key, Seq first, Seq last) const {
    std::vector<std::pair<Seq, Seq>> ranges;
    for (const auto& [lsn, write] : writes_) {
        if (write.key == key && write.last >= first && write.first <= last) {
            ranges.emplace_back(write.first, write.last);
        }
    }
    std::ranges::sort(ranges);
    for (const auto& [from, to] : ranges) {
        if (from > first) {
            return false;
        }
        first = std::max(first, Seq{raw(to) + 1});
    }
    return first > last;
}

void SpoolOracle::on_committed(const pipeline::Committed& committed) {
    for (const pipeline::Committed::Disk& disk : committed.disks) {
        Seq& known = committed_[{committed.machine, disk.disk, disk.generation}];
        known = std::max(known, disk.committed);
    }
}

void SpoolOracle::on_opened(const pipeline::MachineOpened& opened) {
    if (opened.refused) {
        return;
    }
    for (const pipeline::DiskWelcome& disk : opened.disks) {
        Generation& newest = newest_[{opened.machine, disk.disk}];
        newest = std::max(newest, disk.generation);
    }
}

void SpoolOracle::on_damaged(std::size_t server, const pipeline::StreamKey& key) {
    damaged_.insert({server, key.machine, key.disk});
}

void SpoolOracle::on_let_go(std::size_t server, const HeldWrites::Write& write,
                            const HeldWrites& left) {
    ++let_go;
    const auto known = committed_.find(write.key);
    if (resting_ || (known != committed_.end() && known->second >= write.last)) {
        return;
    }
    const pipeline::StreamKey& key = write.key;
    if (newest_[{key.machine, key.disk}] > key.generation ||
        damaged_.contains({server, key.machine, key.disk}) ||
        damaged_.contains({server, key.machine, DiskId{}})) {
        return;
    }
    ++asked;
    const std::optional<Seq> committed = ask_(key);
    if (!committed) {
        return;
    }
    Seq& noted = committed_[key];
    noted = std::max(noted, *committed);
    const Seq first = std::max(write.first, Seq{raw(noted) + 1});
    if (first <= write.last && !left.covers(key, first, write.last)) {
        complain_("spool", "server " + std::to_string(server) + " let go of " +
                               std::to_string(raw(write.first)) + " to " +
                               std::to_string(raw(write.last)) + " of disk " + to_string(key.disk) +
                               " generation " + std::to_string(raw(key.generation)) +
                               ", but the vault ends at " + std::to_string(raw(noted)));
    }
}

void SpoolOracle::check_empty(std::size_t server, std::uint64_t live_bytes) {
    ++emptied;
    if (live_bytes > 0) {
        complain_("spool", "server " + std::to_string(server) + " still holds " +
                               std::to_string(live_bytes) + " bytes, and all is in the vault");
    }
}

}  // namespace cw::sim
