// The files that an agent finds when it starts: its state, a dirty map, a digest table. The first
// byte chooses; the state is taken as it is, the others are valid files with patches, or a map that
// lives through what the input says.
#include "agent/state_file.h"
#include "agent/state_format.h"
#include "agent/stream/digest_table.h"
#include "agent/stream/dirty_map.h"
#include "base/random.h"
#include "tests/fuzz/damaged_file.h"

#include <algorithm>

namespace {

using namespace cw;
using namespace cw::agent;

const std::string path = "/agent/file";
constexpr std::uint64_t disk_bytes = 40 * mib;
const DirtyMap::Target target{.path = path, .disk = {}, .size_bytes = disk_bytes};

// What was reserved from `first` on is this agent's own, and nothing at or above the limit.
void check_own(const DiskState& disk, Seq first) {
    CW_ASSERT(!disk.own.empty() && disk.own.back().limit == disk.limit);
    CW_ASSERT(may_be_own(disk, Seq{}) && may_be_own(disk, first));
    CW_ASSERT(may_be_own(disk, Seq{raw(disk.limit) - 1}) && !may_be_own(disk, disk.limit));
}

// What was given out is never given out again, also by who starts after a kill.
void check_reserve(Disk& disk, StateFile& file) {
    const AgentState state = file.get();
    for (std::uint16_t slot = 0; slot < state.disks.size() && slot < 4; ++slot) {
        const std::uint64_t before = raw(state.disks[slot].limit);
        if (before > UINT64_MAX - 2 * StateFile::reserve_step) {
            continue;
        }
        const auto limit = file.reserve(slot, Seq{before + 1});
        CW_ASSERT(limit && raw(*limit) == before + 1 + StateFile::reserve_step);
        const auto later = StateFile::open(disk, "/agent");
        CW_ASSERT(later && (*later)->get().disks[slot].limit == *limit);
        check_own((*later)->get().disks[slot], Seq{before + 1});
        CW_ASSERT(file.reserve(slot, *limit).has_value());  // It only grows.
        check_own(file.get().disks[slot], Seq{before + 1});
    }
}

// However often an agent starts, the ranges that it keeps are few, in order, and can be read.
void check_starts(Disk& disk, StateFile& file) {
    if (file.get().disks.empty() || raw(file.get().disks[0].limit) > UINT64_MAX / 2) {
        return;
    }
    for (std::size_t start = 0; start < StateFile::own_ranges_max + 2; ++start) {
        CW_ASSERT(file.reserve(0, next(file.get().disks[0].limit)).has_value());
    }
    const auto later = StateFile::open(disk, "/agent");
    CW_ASSERT(later && (*later)->get().disks[0].own == file.get().disks[0].own);
    CW_ASSERT(file.get().disks[0].own.size() <= StateFile::own_ranges_max);
}

void check_state(Disk& disk, Bytes text) {
    fuzz::put_file(disk, "/agent/agent.json", text);
    const auto file = StateFile::open(disk, "/agent");
    if (!file) {
        return;
    }
    const AgentState state = (*file)->get();
    for (const DiskState& one : state.disks) {
        CW_ASSERT(raw(one.limit) > 0 && one.next <= one.limit);
    }
    CW_ASSERT((*file)->update([](AgentState&) {}).has_value());
    const auto again = StateFile::open(disk, "/agent");
    CW_ASSERT(again && (*again)->get().disks.size() == state.disks.size());
    CW_ASSERT((*again)->get().boot_counter == state.boot_counter);
    for (std::size_t i = 0; i < state.disks.size(); ++i) {
        CW_ASSERT((*again)->get().disks[i].own == state.disks[i].own);
        CW_ASSERT(may_be_own(state.disks[i], Seq{}));
    }
    check_reserve(disk, **again);
    check_starts(disk, **again);
}

// Asked before an agent touches anything: a file of a later version stops it, one that is damaged
// does not, and no question changes a file.
void check_asked(fakes::SimStorage& storage, Disk& disk, const std::string& suffix, Bytes file) {
    const std::string named = "/agent/asked" + suffix;
    fuzz::put_file(disk, named, file);
    const auto asked = check_formats(disk, "/agent");
    CW_ASSERT(asked || asked.error().code == Errc::format_unsupported);
    CW_ASSERT(std::ranges::equal(storage.contents(named), file));
    CW_ASSERT(disk.remove(named).has_value());
}

void check_map(fakes::SimStorage& storage, Disk& disk, ByteReader& in) {
    CW_ASSERT(DirtyMap::create(disk, target).has_value());
    ByteVector valid = storage.contents(path);
    const ByteVector file = fuzz::damaged(std::move(valid), in, fuzz::repair_block);
    check_asked(storage, disk, ".map", file);
    fuzz::put_file(disk, path, file);
    auto map = DirtyMap::open(disk, target);
    if (!map) {
        return;
    }
    for (const auto& [ordinal, mask] : map->uncommitted().words()) {
        CW_ASSERT(ordinal < disk_bytes / super_bytes && mask != 0);
    }
    CW_ASSERT(map->mark(disk_bytes - 1, 1).has_value());
    map->assume_logged(Seq{7});
    CW_ASSERT(map->committed(Seq{7}).has_value() && map->uncommitted().empty());
}

bool covers(const BlockSet& whole, const BlockSet& part) {
    return std::ranges::all_of(part.words(), [&](const auto& word) {
        return (word.second & ~whole.mask(word.first)) == 0;
    });
}

// What must hold at any moment: what is missed or being read is uncommitted, exact lists cover what
// their sets cover, and a process that starts now finds all of it.
void check_map_now(Disk& disk, const DirtyMap& map) {
    CW_ASSERT(covers(map.uncommitted(), map.missed()));
    CW_ASSERT(covers(map.uncommitted(), map.fence_blocks()));
    CW_ASSERT(map.missed_bytes() <= map.missed().bytes());
    if (map.missed_ranges()) {
        BlockSet blocks;
        for (const RangeSet::Range& range : map.missed_ranges()->all()) {
            blocks.add_range(range.offset, range.length);
        }
        CW_ASSERT(blocks.words() == map.missed().words());
    }
    const auto later = DirtyMap::open(disk, target);
    CW_ASSERT(later && later->uncommitted().words() == map.uncommitted().words());
    CW_ASSERT(later->missed().words() == later->uncommitted().words());
}

// The life of a map: u8 what happens, u8 where, u8 how long. Whatever happens in whatever order,
// nothing that was marked is lost before its sequence is committed.
void check_map_life(Disk& disk, ByteReader& in) {
    CW_ASSERT(DirtyMap::create(disk, target).has_value());
    auto map = DirtyMap::create(disk, target);  // In the place of the old one.
    CW_ASSERT(map.has_value());
    std::uint64_t seq = 1;
    bool fenced = false;
    for (int count = 0; count < 96 && in.remaining() >= 3; ++count) {
        const std::uint8_t what = *in.u8();
        const std::uint64_t offset = *in.u8() * (disk_bytes / 256);
        const std::uint64_t length =
            std::min<std::uint64_t>((*in.u8() + 1) * 5 * sector_bytes, disk_bytes - offset);
        BlockSet marked;
        marked.add_range(offset, length);
        switch (what % 8) {
            case 0:
                CW_ASSERT(map->mark(offset, length).has_value());
                CW_ASSERT(covers(map->uncommitted(), marked));
                break;
            case 1:
                if (fenced) {
                    break;
                }
                CW_ASSERT(map->mark_missed(offset, length).has_value());
                CW_ASSERT(covers(map->missed(), marked));
                break;
            case 2:
                map->close_interval(Seq{++seq});
                break;
            case 3:
                CW_ASSERT(map->committed(Seq{seq - std::min<std::uint64_t>(seq, what / 8)}));
                break;
            case 4: {
                const BlockSet missed = map->missed();
                const BlockSet& fence = map->begin_fence(what >= 128);
                CW_ASSERT(covers(fence, missed) && map->missed().empty());
                CW_ASSERT(what < 128 || fence.words() == map->uncommitted().words());
                fenced = true;
                break;
            }
            case 5:
                if (fenced) {
                    map->end_fence(Seq{++seq});
                    fenced = false;
                    CW_ASSERT(map->fence_blocks().empty());
                }
                break;
            case 6:
                if (!fenced) {
                    map->give_up_intervals();
                    CW_ASSERT(map->missed().words() == map->uncommitted().words());
                }
                break;
            default:
                map->forget_ranges();
        }
        check_map_now(disk, *map);
    }
    CW_ASSERT(map->sync().has_value());
}

void check_digests(fakes::SimStorage& storage, Disk& disk, ByteReader& in) {
    const auto random = make_seeded_random(1);
    CW_ASSERT(DigestTable::open(disk, *random, path, disk_bytes, true).has_value());
    ByteVector valid = storage.contents(path);
    const ByteVector file = fuzz::damaged(std::move(valid), in, fuzz::repair_block);
    check_asked(storage, disk, ".digests", file);
    fuzz::put_file(disk, path, file);
    auto table = DigestTable::open(disk, *random, path, disk_bytes, false);
    CW_ASSERT(table.has_value());  // What does not fit is made anew.
    const ByteVector block(map_block_bytes);
    for (const std::uint32_t ordinal : {0U, 9U}) {
        if (table->load(ordinal)) {
            table->set(3, block);
            CW_ASSERT(!table->different(3, block) && table->store().has_value());
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    ByteReader in(bytes, Errc::usage);
    const auto kind = in.u8();
    if (!kind) {
        return 0;
    }
    fakes::SimStorage storage(1);
    const auto disk = storage.make_disk();
    CW_ASSERT(disk->create_directories("/agent").has_value());
    switch (*kind % 4) {
        case 0:
            check_state(*disk, bytes.subspan(1));
            break;
        case 1:
            check_map(storage, *disk, in);
            break;
        case 3:
            check_map_life(*disk, in);
            break;
        default:
            check_digests(storage, *disk, in);
    }
    return 0;
}
