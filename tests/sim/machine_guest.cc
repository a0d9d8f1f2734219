// Who writes to a machine's disks, and the points that are made of them.
#include "tests/sim/group.h"
#include "tests/sim/machine.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/world.h"

#include <algorithm>
#include <cstring>

namespace cw::sim {

std::uint64_t Machine::sectors_of(std::size_t slot) const {
    const std::uint64_t kept = slot == 0 && world_.settings.group ? 1 : 0;
    return images_[slot]->size() / sector_bytes - kept;
}

// One of three contents for each block, mostly the same one: what is written was there before.
std::optional<Machine::WholeBlock> Machine::draw_whole_block(std::size_t slot) {
    const std::uint64_t blocks = sectors_of(slot) * sector_bytes / agent::map_block_bytes;
    if (world_.settings.whole_blocks == 0 || blocks == 0 ||
        random_->below(10'000) >= world_.settings.whole_blocks) {
        return std::nullopt;
    }
    const std::uint64_t block = random_->below(blocks);
    const std::uint64_t which = random_->below(12);
    const auto version = static_cast<unsigned char>(3 * block + (which < 2 ? 2 + which : 1));
    return WholeBlock{block * agent::map_block_bytes,
                      ByteVector(agent::map_block_bytes, std::byte{version})};
}

void Machine::write_some(std::size_t count) {
    if (held()) {
        return;
    }
    for (std::size_t n = 0; n < count; ++n) {
        const std::size_t slot = random_->below(images_.size());
        if (const auto whole = draw_whole_block(slot)) {
            write_whole(slot, *whole);
            continue;
        }
        const std::uint64_t disk_sectors = sectors_of(slot);
        const std::uint64_t most = random_->below(8) == 0 ? 128 : 12;
        const std::uint64_t sectors = 1 + random_->below(std::min(most, disk_sectors));
        // A hot place, so that versions of one block are many.
        const std::uint64_t room = disk_sectors - sectors + 1;
        const std::uint64_t at =
            random_->below(random_->below(2) == 0 ? std::min<std::uint64_t>(room, 48) : room);
        const std::uint64_t offset = at * sector_bytes, length = sectors * sector_bytes;
        if (captures_.empty() || left_out(slot)) {  // Nobody protects it now.
            ByteVector data(length);
            random_->fill(data);
            if (!provable_ || left_out(slot)) {
                CW_ASSERT(images_[slot]->write(offset, data).has_value());
                ++writes_;
            }
            continue;
        }
        ++writes_;
        agent::DiskCapture& capture = *captures_[slot];
        if (random_->below(8) == 0) {
            const auto op =
                random_->below(2) == 0 ? pipeline::ExtentOp::zero : pipeline::ExtentOp::discard;
            CW_ASSERT(capture.zero(offset, length, op, false).has_value());
            continue;
        }
        ByteVector data(length, std::byte{static_cast<unsigned char>(random_->below(256))});
        if (random_->below(3) != 0) {
            random_->fill(MutableBytes(data).first(std::min<std::size_t>(length, 512)));
        }
        CW_ASSERT(capture.write(offset, data).has_value());
    }
}

void Machine::write_whole(std::size_t slot, const WholeBlock& block) {
    const bool unseen = captures_.empty() || left_out(slot);
    if (captures_.empty() && provable_ && !left_out(slot)) {
        return;
    }
    ++writes_;
    CW_ASSERT(unseen ? images_[slot]->write(block.offset, block.content).has_value()
                     : captures_[slot]->write(block.offset, block.content).has_value());
}

void Machine::flood(std::uint64_t bytes) {
    for (std::uint64_t written = 0; written < bytes && up() && !held();) {
        const std::size_t slot = random_->below(images_.size());
        const std::uint64_t sectors = std::min<std::uint64_t>(sectors_of(slot), 128);
        ByteVector data(sectors * sector_bytes);
        random_->fill(MutableBytes(data).first(sector_bytes));
        const std::uint64_t at = random_->below(sectors_of(slot) - sectors + 1) * sector_bytes;
        ++writes_;
        CW_ASSERT(left_out(slot) ? images_[slot]->write(at, data).has_value()
                                 : captures_[slot]->write(at, data).has_value());
        written += data.size();
    }
}

Machine::Images Machine::images() const {
    Images out;
    for (std::size_t i = 0; i < disks_now(); ++i) {
        out.emplace(disk_id(i), images_[i]->bytes());
    }
    return out;
}

bool Machine::make_point() {
    if (!consistent()) {
        return false;
    }
    const auto made = replicator_->make_point(pipeline::PointKind::crash, "simulated");
    if (!made) {
        return false;
    }
    points_->emplace(*made, images());
    newest_ = *made;
    missed_point_ |= away_;
    world_.event("point.made", index_, points_->size());
    world_.trace.count("points.made");
    return true;
}

Result<PointId> Machine::make_group_point(const GroupId& barrier, const std::string& tag) {
    auto made = replicator_->make_point(pipeline::PointKind::crash, tag, {}, {}, barrier);
    if (made) {
        points_->emplace(*made, images());
        missed_point_ |= away_;
        world_.event("point.group", index_, points_->size());
    }
    return made;
}

bool Machine::held() const {
    return world_.mutant != Mutant::nobody_held && gate_ && gate_->closed() &&
           world_.clock.boot() < gate_->until();
}

std::uint64_t Machine::counter_in(const SharedBytes& disk) {
    std::array<std::byte, sizeof(std::uint64_t)> value{};
    disk.read(disk.size() - sector_bytes, value);
    return std::bit_cast<std::uint64_t>(value);
}

void Machine::write_counter(std::uint64_t value) {
    CW_ASSERT(up() && !held());
    ByteVector sector(sector_bytes);
    std::memcpy(sector.data(), &value, sizeof value);
    ++writes_;
    CW_ASSERT(captures_[0]->write(images_[0]->size() - sector_bytes, sector).has_value());
}

bool Machine::final_point() {
    final_made_ = final_made_ || (live() && make_point());
    return final_made_;
}

bool Machine::settled() {
    if (!live() || !consistent() || !replicator_->all_spooled() || !newest_) {
        return false;
    }
    // A planned failover waits for the agent's own word.
    const agent::TrackedPoint* const point = replicator_->points().find(*newest_);
    return point != nullptr && point->phase == agent::PointPhase::committed &&
           world_.oracles->points.committed(id_, *newest_);
}

bool Machine::newest_is_lost() {
    if (!up() || !newest_) {
        return false;
    }
    const agent::TrackedPoint* const point = replicator_->points().find(*newest_);
    return point == nullptr || point->phase == agent::PointPhase::dropped;
}

// A point that a server's copy does not know of is given up when the copy answers for a later one.
// The original may have it in its cache, and publish it in its own time.
std::size_t Machine::untold() {
    CW_ASSERT(up());
    const bool copies = world_.servers.size() > world_.settings.servers;
    return static_cast<std::size_t>(
        std::ranges::count_if(replicator_->points().all(), [&](const auto& point) {
            return point.phase != agent::PointPhase::committed &&
                   !(copies && point.phase == agent::PointPhase::dropped) &&
                   world_.oracles->points.committed(id_, point.id) &&
                   !world_.oracles->points.pruned(point.id);
        }));
}

}  // namespace cw::sim
