// The files that an agent finds when it starts: its state, a dirty map, a digest table. The first
// byte chooses; the state is taken as it is, the others are valid files with patches.
#include "agent/state_file.h"
#include "agent/stream/digest_table.h"
#include "agent/stream/dirty_map.h"
#include "base/random.h"
#include "tests/fuzz/damaged_file.h"

namespace {

using namespace cw;
using namespace cw::agent;

const std::string path = "/agent/file";
constexpr std::uint64_t disk_bytes = 40 * mib;
const DirtyMap::Target target{.path = path, .disk = {}, .size_bytes = disk_bytes};

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
}

void check_map(fakes::SimStorage& storage, Disk& disk, ByteReader& in) {
    CW_ASSERT(DirtyMap::create(disk, target).has_value());
    ByteVector valid = storage.contents(path);
    fuzz::put_file(disk, path, fuzz::damaged(std::move(valid), in, fuzz::repair_block));
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

void check_digests(fakes::SimStorage& storage, Disk& disk, ByteReader& in) {
    const auto random = make_seeded_random(1);
    CW_ASSERT(DigestTable::open(disk, *random, path, disk_bytes, true).has_value());
    ByteVector valid = storage.contents(path);
    fuzz::put_file(disk, path, fuzz::damaged(std::move(valid), in, fuzz::repair_block));
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
    switch (*kind % 3) {
        case 0:
            check_state(*disk, bytes.subspan(1));
            break;
        case 1:
            check_map(storage, *disk, in);
            break;
        default:
            check_digests(storage, *disk, in);
    }
    return 0;
}
