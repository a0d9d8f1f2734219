#include "tests/recovery/disk_model.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::fakes {
namespace {

using vault::Codec;

constexpr std::uint64_t write_bytes_max = 48 * kib, base_chunk_bytes = 64 * kib;

bool is_hole(const RigExtent& extent) {
    return extent.bytes.empty();
}
std::uint64_t length_of(const RigExtent& extent) {
    return is_hole(extent) ? extent.hole_bytes : extent.bytes.size();
}

// The part of `extent` in [begin, end).
RigExtent cut(const RigExtent& extent, std::uint64_t begin, std::uint64_t end) {
    RigExtent out = extent;
    out.offset = begin;
    if (is_hole(extent)) {
        out.hole_bytes = end - begin;
    } else {
        const auto from = extent.bytes.begin() + static_cast<std::ptrdiff_t>(begin - extent.offset);
        out.bytes.assign(from, from + static_cast<std::ptrdiff_t>(end - begin));
    }
    return out;
}

}  // namespace

DiskModel::DiskModel(VaultRig& rig, Random& random, DiskId disk, std::uint64_t disk_bytes)
    : rig_(rig), random_(random), disk_(disk), live_(disk_bytes) {
    entry().size_bytes = disk_bytes;
    entry().name = "vda";
    rig_.publish(rig_.next());
    if (random_.below(2) == 0) {  // Half of them begin with an initial synchronisation.
        for (int i = 0; i < 10; ++i) {
            miss_one();
        }
        resync({{0, live_.size()}});
    }
}

DiskModel::Range DiskModel::random_range(std::uint64_t max) {
    const std::uint64_t sectors = live_.size() / sector_bytes;
    const std::uint64_t at = random_.below(sectors);
    const std::uint64_t most = std::min(sectors - at, max / sector_bytes);
    return {at * sector_bytes, (1 + random_.below(most)) * sector_bytes};
}

void DiskModel::write_once() {
    const Range range = random_range(write_bytes_max);
    const auto begin = live_.begin() + static_cast<std::ptrdiff_t>(range.offset);
    RigExtent extent;
    extent.offset = range.offset;
    extent.seq = Seq{++seq_};
    const std::uint64_t kind = random_.below(10);
    if (kind < 2) {
        extent.codec = kind == 0 ? Codec::zero : Codec::discard;
        extent.hole_bytes = range.length;
        std::fill_n(begin, range.length, std::byte{0});
    } else {
        extent.codec = kind < 5 ? Codec::zstd : kind < 8 ? Codec::lz4 : Codec::none;
        extent.bytes = kind % 2 == 0 ? random_bytes(random_, range.length)
                                     : text_bytes(random_.below(1000), range.length);
        std::ranges::copy(extent.bytes, begin);
    }
    if (log_.empty()) {
        log_first_ = extent.seq;
    }
    log_.push_back(std::move(extent));
}

DiskModel::Range DiskModel::miss_one() {
    const Range range = random_range(write_bytes_max);
    const ByteVector bytes = random_bytes(random_, range.length);
    std::ranges::copy(bytes, live_.begin() + static_cast<std::ptrdiff_t>(range.offset));
    return range;
}

// Keeps of each byte only its last version, as pieces that do not overlap, in random order.
void DiskModel::coalesce() {
    std::map<std::uint64_t, RigExtent> kept;
    for (const RigExtent& extent : log_) {
        const std::uint64_t end = extent.offset + length_of(extent);
        std::vector<RigExtent> rest;
        for (auto at = kept.begin(); at != kept.end();) {
            const RigExtent old = at->second;
            const std::uint64_t old_end = old.offset + length_of(old);
            if (old_end <= extent.offset || old.offset >= end) {
                ++at;
                continue;
            }
            at = kept.erase(at);
            if (old.offset < extent.offset) {
                rest.push_back(cut(old, old.offset, extent.offset));
            }
            if (old_end > end) {
                rest.push_back(cut(old, end, old_end));
            }
        }
        for (const RigExtent& piece : rest) {
            kept.emplace(piece.offset, piece);
        }
        kept.emplace(extent.offset, extent);
    }
    log_.clear();
    for (auto& [offset, extent] : kept) {
        log_.insert(log_.begin() + static_cast<std::ptrdiff_t>(random_.below(log_.size() + 1)),
                    std::move(extent));
    }
}

void DiskModel::seal_writes() {
    if (log_.empty()) {
        return;
    }
    const Seq last = log_.back().seq;
    if (random_.below(2) == 0) {
        coalesce();
    }
    unpublished_.push_back(rig_.put({disk_, generation_, log_first_, last, false, log_}));
    log_.clear();
}

// Publishes some or all of what is stored, in any order.
void DiskModel::flush(bool all) {
    vault::Manifest manifest = rig_.next();
    for (std::size_t i = unpublished_.size(); i > 0; --i) {
        const std::size_t pick = random_.below(i);
        if (all || random_.below(2) == 0) {
            manifest.added.push_back(unpublished_[pick]);
            unpublished_.erase(unpublished_.begin() + static_cast<std::ptrdiff_t>(pick));
        }
    }
    rig_.publish(std::move(manifest));
}

void DiskModel::resync(const std::vector<Range>& dirty) {
    ++fences_;
    if (random_.below(2) == 0) {
        seal_writes();  // Else a segment spans the fence; then it must not be coalesced.
    }
    const bool spans = !log_.empty();
    const Seq fence{++seq_};
    entry().open_fence = fence;
    std::vector<RigExtent> base;
    for (const Range& range : dirty) {
        for (std::uint64_t at = range.offset; at < range.offset + range.length;
             at += base_chunk_bytes) {
            if (random_.below(3) == 0) {
                write_some();  // While the base is being read.
                if (!spans && random_.below(3) == 0) {
                    seal_writes();
                }
            }
            const std::uint64_t end = std::min(at + base_chunk_bytes, range.offset + range.length);
            const auto from = live_.begin() + static_cast<std::ptrdiff_t>(at);
            RigExtent extent{
                at, {from, from + static_cast<std::ptrdiff_t>(end - at)}, fence, Codec::zstd, 0};
            if (all_zero(extent.bytes)) {
                extent = {at, {}, fence, Codec::zero, end - at};
            }
            base.push_back(std::move(extent));
            if (random_.below(8) == 0) {
                unpublished_.push_back(rig_.put({disk_, generation_, fence, fence, true, base}));
                base.clear();
            }
        }
    }
    if (!base.empty()) {
        unpublished_.push_back(rig_.put({disk_, generation_, fence, fence, true, base}));
    }
    write_some();
    ++seq_;  // RESYNC_END.
    if (spans && !log_.empty()) {
        unpublished_.push_back(
            rig_.put({disk_, generation_, log_first_, log_.back().seq, false, log_}));
        log_.clear();
    }
    seal_writes();
    flush(false);
    entry().open_fence = Seq{0};
    entry().protected_ = true;
}

void DiskModel::new_generation() {
    seal_writes();
    entry().committed = Seq{seq_};
    flush(true);
    const bool over_parent = random_.below(3) != 0;
    vault::DiskEntry& disk = entry();
    disk.parent_generation = over_parent ? generation_ : Generation{0};
    disk.parent_seq = over_parent ? Seq{seq_} : Seq{0};
    generation_ = Generation{raw(generation_) + 1};
    disk.generation = generation_;
    disk.committed = Seq{0};
    disk.protected_ = false;
    seq_ = 0;
    std::vector<Range> dirty;
    for (std::uint64_t n = random_.below(5); n > 0; --n) {
        dirty.push_back(miss_one());
    }
    if (!over_parent) {
        dirty = {{0, live_.size()}};
    }
    resync(dirty);
}

PointId DiskModel::publish_point() {
    seal_writes();
    entry().committed = Seq{seq_};
    time_ += 1'000'000;
    const PointId id = rig_.publish_point(std::exchange(unpublished_, {}), WallMicros{time_});
    truth_.emplace(id, live_);
    return id;
}

void DiskModel::step() {
    const std::uint64_t kind = random_.below(20);
    if (kind < 8) {
        write_some();
    } else if (kind < 10) {
        seal_writes();
    } else if (kind < 12) {
        flush(false);
    } else if (kind < 17) {
        publish_point();
    } else if (kind == 17) {
        std::vector<Range> dirty;
        for (std::uint64_t n = random_.below(4); n > 0; --n) {
            dirty.push_back(miss_one());
        }
        resync(dirty);
    } else if (kind == 18) {
        new_generation();
    } else if (random_.below(2) == 0) {
        rig_.take_over();
    } else {
        rig_.publish(make_checkpoint(rig_.state));
    }
}

}  // namespace cw::fakes
