#include "agent/qemu/qemu_tracker.h"

#include <algorithm>
#include <charconv>

namespace cw::agent {
namespace {

std::uint64_t number_of(std::string_view name, std::size_t prefix_length) {
    std::uint64_t number = 0;
    const std::string_view digits = name.substr(prefix_length);
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return number;
}

}  // namespace

QemuTracker::QemuTracker(QemuMachine& machine, std::vector<Disk> disks) : machine_(machine) {
    for (Disk& disk : disks) {
        Tracked& tracked = disks_.emplace_back();
        tracked.vm = std::move(disk.vm);
        tracked.prefix = qemu_bitmap_prefix(disk.token);
    }
}

bool QemuTracker::continuous(const QemuDisk& vm, const std::string& token) {
    const std::string prefix = qemu_bitmap_prefix(token);
    bool recording = false, trusted = true;
    for (const QemuBitmap& bitmap : vm.bitmaps) {
        if (!token.empty() && bitmap.name.starts_with(prefix)) {
            recording = recording || bitmap.recording;
            trusted = trusted && !bitmap.inconsistent;
        }
    }
    return recording && trusted;
}

Result<std::vector<BlockSet>> QemuTracker::begin() {
    QemuTransaction transaction;
    for (Tracked& disk : disks_) {
        for (const QemuBitmap& bitmap : disk.vm.bitmaps) {
            if (!bitmap.name.starts_with(disk.prefix) || bitmap.inconsistent) {
                QemuTransaction removal;
                removal.remove_bitmap(disk.vm, bitmap.name);
                CW_TRY(machine_.run(removal));
                continue;
            }
            disk.number = std::max(disk.number, number_of(bitmap.name, disk.prefix.size()));
            disk.older.push_back(bitmap.name);
            if (bitmap.recording) {
                transaction.stop_bitmap(disk.vm, bitmap.name);
            }
        }
        disk.current = disk.prefix + std::to_string(++disk.number);
        transaction.add_bitmap(disk.vm, disk.current, true);
    }
    CW_TRY(machine_.run(transaction));
    std::vector<BlockSet> recorded(disks_.size());
    for (std::size_t slot = 0; slot < disks_.size(); ++slot) {
        for (const std::string& bitmap : disks_[slot].older) {
            CW_TRY_ASSIGN(const BlockSet dirty, machine_.read_bitmap(disks_[slot].vm, bitmap));
            recorded[slot].merge(dirty);
        }
    }
    return recorded;
}

Result<void> QemuTracker::settled() {
    QemuTransaction transaction;
    for (Tracked& disk : disks_) {
        for (const std::string& bitmap : disk.older) {
            transaction.remove_bitmap(disk.vm, bitmap);
        }
    }
    if (!transaction.empty()) {
        CW_TRY(machine_.run(transaction));
    }
    for (Tracked& disk : disks_) {
        disk.older.clear();
    }
    return {};
}

Result<void> QemuTracker::rotate() {
    QemuTransaction transaction;
    for (Tracked& disk : disks_) {
        for (const std::string& bitmap : disk.older) {
            transaction.remove_bitmap(disk.vm, bitmap);
        }
        disk.upcoming = disk.prefix + std::to_string(++disk.number);
        transaction.add_bitmap(disk.vm, disk.upcoming, true);
    }
    CW_TRY(machine_.run(transaction));
    for (Tracked& disk : disks_) {
        disk.older = {std::exchange(disk.current, disk.upcoming)};
    }
    return {};
}

void QemuTracker::cut(QemuTransaction& transaction) {
    for (Tracked& disk : disks_) {
        CW_ASSERT(disk.older.empty());
        disk.upcoming = disk.prefix + std::to_string(++disk.number);
        transaction.add_bitmap(disk.vm, disk.upcoming, true);
        transaction.stop_bitmap(disk.vm, disk.current);
    }
}

void QemuTracker::cut_done() {
    for (Tracked& disk : disks_) {
        disk.older = {std::exchange(disk.current, disk.upcoming)};
    }
}

Result<void> QemuTracker::give_back() {
    QemuTransaction transaction;
    for (Tracked& disk : disks_) {
        for (const std::string& bitmap : disk.older) {
            transaction.merge_bitmap(disk.vm, bitmap, disk.current);
            transaction.remove_bitmap(disk.vm, bitmap);
        }
    }
    if (!transaction.empty()) {
        CW_TRY(machine_.run(transaction));
    }
    for (Tracked& disk : disks_) {
        disk.older.clear();
    }
    return {};
}

}  // namespace cw::agent
