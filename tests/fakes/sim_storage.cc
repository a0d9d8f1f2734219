// The device itself: what kills and power cuts leave of it, and what tests do to it on purpose.
#include "base/assert.h"
#include "tests/fakes/sim_disk.h"

#include <algorithm>

namespace cw::fakes {

SimStorage::SimStorage(std::uint64_t seed, FaultPlan plan, Clock* clock)
    : plan_(std::move(plan)), clock_(clock), random_(make_seeded_random(seed)) {}

SimStorage::~SimStorage() {
    CW_ASSERT(disks_.empty());
}

std::unique_ptr<SimDisk> SimStorage::make_disk() {
    std::unique_ptr<SimDisk> disk(new SimDisk(*this));
    disks_.push_back(disk.get());
    return disk;
}

bool SimStorage::hit(std::uint32_t rate, const std::string& path) {
    return rate != 0 && path.find(plan_.only_path) != std::string::npos &&
           random_->below(10'000) < rate;
}

bool SimStorage::begin_change() noexcept {
    const bool too_late = struck_;
    struck_ = struck_ || (changes_left_ > 0 && --changes_left_ == 0);
    return too_late;
}

bool SimStorage::refuses_change(const std::string& path) {
    begin_change();
    const bool refused = !struck_ && hit(plan_.metadata_error, path);
    counts_.metadata_error += refused ? 1 : 0;
    return struck_ || refused;
}

bool SimStorage::at_work() const {
    const auto changes = [](const SimDisk::Pending& pending) {
        return pending.request->op != DiskOp::read;
    };
    return !unsynced_names_.empty() || std::ranges::any_of(disks_, [&](const SimDisk* disk) {
        return std::ranges::any_of(disk->queue_, changes);
    }) || std::ranges::any_of(names_, [](const auto& entry) {
        return entry.second->dirty_sectors() > 0;
    });
}

std::uint64_t SimStorage::used_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& entry : names_) {
        sum += entry.second->size();
    }
    return sum;
}

void SimStorage::kill() {
    struck_ = false;
    for (SimDisk* disk : disks_) {
        if (!disk->dead_) {
            disk->die();
        }
    }
}

void SimStorage::power_cut() {
    kill();
    for (const NameChange& change : unsynced_names_) {
        if (random_->below(2) == 0) {
            apply_change(change, durable_names_);
        }
    }
    unsynced_names_.clear();
    names_ = durable_names_;
    bool torn = false;
    for (const auto& entry : names_) {
        torn |= entry.second->dirty_sectors() > 0;
        entry.second->power_cut(*random_);
    }
    counts_.torn_cuts += torn ? 1 : 0;
}

void SimStorage::flip_bit(const std::string& path, std::uint64_t offset, unsigned bit) {
    names_.at(path)->flip_bit(offset, bit);
}

void SimStorage::overwrite(const std::string& path, std::uint64_t offset, Bytes bytes) {
    names_.at(path)->write(offset, bytes);
    names_.at(path)->persist_all();
}

ByteVector SimStorage::contents(const std::string& path) {
    return contents(path, 0, size_of(path));
}

ByteVector SimStorage::contents(const std::string& path, std::uint64_t offset,
                                std::uint64_t length) {
    ByteVector out(length);
    names_.at(path)->read(offset, out, false);
    return out;
}

ByteVector SimStorage::durable_contents(const std::string& path, std::uint64_t offset,
                                        std::uint64_t length) {
    ByteVector out(length);
    names_.at(path)->read_durable(offset, out);
    return out;
}

std::vector<std::uint64_t> SimStorage::written_blocks(const std::string& path) const {
    return names_.at(path)->written_blocks();
}

std::uint64_t SimStorage::size_of(const std::string& path) const {
    return names_.at(path)->size();
}

void SimStorage::erase(const std::string& path) {
    names_.erase(path);
    durable_names_.erase(path);
}

void SimStorage::lose_write(const std::string& path, std::uint64_t offset, std::uint64_t length) {
    names_.at(path)->revert(offset, length);
}

AstrayWrite& SimStorage::note_astray(const std::string& path, std::uint64_t offset, Bytes bytes) {
    const Bytes head = bytes.first(std::min<std::size_t>(bytes.size(), block_bytes));
    return astray_.emplace_back(AstrayWrite{.path = path,
                                            .offset = offset,
                                            .head = {head.begin(), head.end()},
                                            .landed = 0,
                                            .hit = {}});
}

// A reader that tries again must be able to do so: the next reads are spared.
void SimStorage::weaken(const std::string& path, std::uint64_t offset, std::uint64_t length) {
    constexpr unsigned spared = 64;
    if (reads_spared_ > 0) {
        --reads_spared_;
    } else if (length > 0 && hit(plan_.read_weak, path)) {
        ++counts_.read_weak;
        reads_spared_ = spared;
        const std::uint64_t place = offset + random_->below(length);
        bad_blocks_[path].try_emplace(place / block_bytes, 1 + random_->below(2));
    }
}

void SimStorage::fail_reads(const std::string& path, std::uint64_t offset, std::uint64_t length,
                            std::uint64_t times) {
    CW_ASSERT(names_.contains(path) && length > 0);
    for (std::uint64_t at = offset / block_bytes; at * block_bytes < offset + length; ++at) {
        bad_blocks_[path][at] = times;
    }
}

std::uint64_t SimStorage::unreadable_bytes(const std::string& path) const {
    const auto bad = bad_blocks_.find(path);
    return bad == bad_blocks_.end() ? 0 : bad->second.size() * block_bytes;
}

bool SimStorage::unreadable_for_good(const std::string& path, std::uint64_t offset,
                                     std::uint64_t length) const {
    const auto bad = bad_blocks_.find(path);
    return bad != bad_blocks_.end() && std::ranges::any_of(bad->second, [&](const auto& block) {
               return block.second == UINT64_MAX && block.first * block_bytes < offset + length &&
                      offset < (block.first + 1) * block_bytes;
           });
}

bool SimStorage::refuse_read(const std::string& path, std::uint64_t offset, std::uint64_t length) {
    const auto bad = bad_blocks_.find(path);
    if (bad == bad_blocks_.end()) {
        return false;
    }
    const auto first = bad->second.lower_bound(offset / block_bytes);
    if (first == bad->second.end() || first->first * block_bytes >= offset + length) {
        return false;
    }
    if (first->second != UINT64_MAX && --first->second == 0) {
        bad->second.erase(first);
    }
    return true;
}

void SimStorage::heal(const std::string& path, std::uint64_t offset, std::uint64_t length) {
    const auto bad = bad_blocks_.find(path);
    if (bad != bad_blocks_.end()) {
        std::erase_if(bad->second, [&](const auto& block) {
            return block.first * block_bytes + block_bytes > offset &&
                   block.first * block_bytes < offset + length;
        });
    }
}

std::size_t SimStorage::dirty_sectors(const std::string& path) {
    return names_.at(path)->dirty_sectors();
}

}  // namespace cw::fakes
