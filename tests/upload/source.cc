// The modelled machine, and readers of what became of it.
#include "base/assert.h"
#include "pipeline/fence.h"
#include "tests/upload/rig.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::upload::test {

using pipeline::RecordHeader;
using pipeline::RecordType;

Source::Source(World& shared, const std::vector<std::uint64_t>& disk_bytes)
    : world(shared), machine(make_id<MachineId>(*shared.random)) {
    for (const std::uint64_t bytes : disk_bytes) {
        SourceDisk& disk = disks.emplace_back();
        disk.id = make_id<DiskId>(*shared.random);
        disk.content.resize(bytes);
        for (std::size_t at = 0; at < bytes; at += 64 * kib) {  // Mostly zeros, as disks are.
            world.random->fill(MutableBytes(disk.content).subspan(at, 512));
        }
    }
    std::ranges::sort(disks, {}, &SourceDisk::id);
}

void Source::send(Server& server, const RecordHeader& sent, ByteVector table, ByteVector data) {
    if (keep_log) {
        log.push_back({.header = sent, .table = table, .data = data});
    }
    server.append(sent, std::move(table), std::move(data));
}

void Source::resend(Server& server, const pipeline::MachineOpened& answer) {
    for (const CacheModel::Stored& logged : log) {
        const RecordHeader& sent = logged.header;
        const auto welcome =
            std::ranges::find(answer.disks, sent.key.disk, &pipeline::DiskWelcome::disk);
        if (sent.type == RecordType::write && welcome != answer.disks.end() &&
            advance(sent.seq, sent.seq_count - 1) <= welcome->durable) {
            continue;
        }
        server.append(sent, logged.table, logged.data);
    }
}

RecordHeader Source::header(Server& server, const SourceDisk& disk, RecordType type) {
    RecordHeader out;
    out.key = {machine, disk.id, disk.generation};
    out.type = type;
    out.session = SessionId{server.session};
    out.aux = tells_size ? disk.content.size() : 0;
    return out;
}

void Source::begin_sync(Server& server, SourceDisk& disk) {
    RecordHeader begin = header(server, disk, RecordType::resync_begin);
    begin.seq = disk.fence = disk.next;
    begin.seq_count = 1;
    begin.aux |= 1;  // The kind of a resync.
    disk.next = next(disk.next);
    send(server, begin, {}, {});
}

void Source::resume(Server& server, SourceDisk& disk, std::uint64_t leap) {
    RecordHeader begin = header(server, disk, RecordType::resync_begin);
    begin.ordinal = pipeline::ordinal_of(Seq{raw(disk.next) - 1});
    begin.seq = disk.fence = advance(disk.next, leap);
    begin.seq_count = 1;
    begin.aux |= pipeline::resync_kind_resume;
    disk.next = next(disk.fence);
    send(server, begin, {}, {});
}

void Source::catch_up(Server& server, SourceDisk& disk, Seq told, std::uint64_t leap) {
    RecordHeader begin = header(server, disk, RecordType::resync_begin);
    begin.ordinal = pipeline::ordinal_of(told);
    begin.seq = disk.fence = advance(disk.next, leap);
    begin.seq_count = 1;
    begin.aux |= pipeline::resync_kind_catch_up;
    disk.next = next(disk.fence);
    send(server, begin, {}, {});
}

void Source::end_sync(Server& server, SourceDisk& disk, std::uint32_t super_chunks) {
    RecordHeader end = header(server, disk, RecordType::resync_end);
    end.seq = disk.next;
    end.seq_count = 1;
    end.ordinal = super_chunks;
    disk.next = next(disk.next);
    disk.fence = Seq{};
    send(server, end, {}, {});
}

namespace {

// Fills the header's sizes and makes the payload of `table` and the extents' bytes.
struct Payload {
    ByteVector table, data;
};
Payload payload_of(RecordHeader& header, pipeline::ExtentTable table, const ByteVector& disk) {
    Payload out;
    for (pipeline::Extent& extent : table.extents) {
        if (extent.op != pipeline::ExtentOp::write) {
            continue;
        }
        extent.data_position = static_cast<std::uint32_t>(out.data.size());
        const Bytes bytes = Bytes(disk).subspan(extent.offset, extent.length);
        extent.crc = crc32c(bytes);
        out.data.insert(out.data.end(), bytes.begin(), bytes.end());
        out.data.resize(align_up(out.data.size(), block_bytes));
    }
    out.table.resize(pipeline::extent_table_bytes(table.extents.size()));
    pipeline::write_extent_table(table, out.table);
    header.table_bytes = static_cast<std::uint32_t>(out.table.size());
    header.data_bytes = static_cast<std::uint32_t>(out.data.size());
    header.table_crc = crc32c(out.table);
    return out;
}

}  // namespace

void Source::send_base(Server& server, SourceDisk& disk) {
    for (std::uint64_t at = 0; at < disk.content.size(); at += pipeline::super_chunk_bytes) {
        RecordHeader base = header(server, disk, RecordType::base);
        base.seq = disk.fence;
        base.ordinal = static_cast<std::uint32_t>(at / pipeline::super_chunk_bytes);
        pipeline::ExtentTable table;
        const std::uint64_t end =
            std::min<std::uint64_t>(disk.content.size(), at + pipeline::super_chunk_bytes);
        for (std::uint64_t from = at; from < end; from += mib) {
            pipeline::Extent& extent = table.extents.emplace_back();
            extent.offset = from;
            extent.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(mib, end - from));
        }
        Payload payload = payload_of(base, std::move(table), disk.content);
        send(server, base, std::move(payload.table), std::move(payload.data));
    }
}

void Source::sync_all(Server& server) {
    for (SourceDisk& disk : disks) {
        begin_sync(server, disk);
        write(server, disk);
        send_base(server, disk);
        write(server, disk);
        end_sync(server, disk);
    }
}

// The extents of a record are a history too: each carries the bytes of its own moment.
void Source::write(Server& server, SourceDisk& disk) {
    RecordHeader out = header(server, disk, RecordType::write);
    const std::size_t count = 1 + world.random->below(6);
    out.seq = disk.next;
    out.seq_count = static_cast<std::uint32_t>(count);
    disk.next = advance(disk.next, count);
    pipeline::ExtentTable table;
    ByteVector data;
    for (std::size_t i = 0; i < count; ++i) {
        pipeline::Extent& extent = table.extents.emplace_back();
        const std::uint64_t sectors = disk.content.size() / sector_bytes;
        // Half of the writes fall into a small region, so that they overwrite each other.
        const std::uint64_t span = world.random->below(2) == 0 ? sectors : sectors / 16;
        extent.offset = world.random->below(span) * sector_bytes;
        const std::uint64_t room = (disk.content.size() - extent.offset) / sector_bytes;
        extent.length = static_cast<std::uint32_t>(
            (1 + world.random->below(std::min<std::uint64_t>(room, 256))) * sector_bytes);
        const MutableBytes target =
            MutableBytes(disk.content).subspan(extent.offset, extent.length);
        const std::uint64_t kind = world.random->below(8);
        if (kind == 0) {
            extent.op = pipeline::ExtentOp::zero;
            std::ranges::fill(target, std::byte{0});
            continue;
        }
        if (kind == 1) {
            extent.op = pipeline::ExtentOp::discard;
            std::ranges::fill(target, std::byte{0});
            continue;
        }
        world.random->fill(target.first(std::min<std::size_t>(target.size(), 4096)));
        extent.data_position = static_cast<std::uint32_t>(data.size());
        extent.crc = crc32c(target);
        data.insert(data.end(), target.begin(), target.end());
        data.resize(align_up(data.size(), block_bytes));
    }
    ByteVector encoded(pipeline::extent_table_bytes(count));
    pipeline::write_extent_table(table, encoded);
    out.table_bytes = static_cast<std::uint32_t>(encoded.size());
    out.data_bytes = static_cast<std::uint32_t>(data.size());
    out.table_crc = crc32c(encoded);
    send(server, out, std::move(encoded), std::move(data));
}

PointId Source::point(Server& server, pipeline::PointKind kind, GroupId group, bool provisional) {
    pipeline::Point point;
    point.id = make_id<PointId>(*world.random);
    point.kind = kind;
    point.group = group;
    point.provisional = provisional;
    point.source_time = world.clock.wall();
    for (const SourceDisk& disk : disks) {
        point.cuts.push_back(
            {.disk = disk.id, .generation = disk.generation, .cut = Seq{raw(disk.next) - 1}});
        snapshots[point.id][disk.id] = disk.content;
    }
    RecordHeader out;
    out.key.machine = machine;
    out.type = RecordType::point;
    out.session = SessionId{server.session};
    ByteVector table = pipeline::encode_point(point);
    table.resize(align_up(table.size(), block_bytes));
    out.table_bytes = static_cast<std::uint32_t>(table.size());
    out.table_crc = crc32c(table);
    send(server, out, std::move(table), {});
    return point.id;
}

void Source::point_result(Server& server, const PointId& id, const GroupId& group, bool committed) {
    RecordHeader out;
    out.key.machine = machine;
    out.type = RecordType::point_result;
    out.session = SessionId{server.session};
    ByteVector table =
        pipeline::encode_point_result({.id = id, .group = group, .committed = committed});
    table.resize(align_up(table.size(), block_bytes));
    out.table_bytes = static_cast<std::uint32_t>(table.size());
    out.table_crc = crc32c(table);
    send(server, out, std::move(table), {});
}

vault::ChainState read_state(World& world, const MachineId& machine) {
    auto store = world.stores()->make();
    auto keys = vault::open_machine_keys(*store, *world.kek, world.identity, machine, nullptr);
    CW_ASSERT(keys.has_value());
    auto state = vault::read_chain(*store, world.identity, *keys, {});
    CW_ASSERT(state.has_value() && state->has_value());
    return std::move(**state);
}

namespace {

void lay(World& world, const vault::MachineKeys& keys, const vault::SegmentRef& ref,
         ByteVector& disk) {
    auto store = world.stores()->make();
    const auto found = blob::get_and_wait(*store, {.name = vault::segment_blob(ref.name)});
    ASSERT_TRUE(found.has_value()) << to_string(found.error());
    const ByteVector& object = found->bytes;
    ASSERT_EQ(object.size(), ref.object_bytes);
    const auto crypto =
        vault::SegmentCrypto::make(world.identity.id, ref, keys.deks.at(ref.dek_version));
    const auto chunks =
        vault::open_index(ref, *crypto, Bytes(object).subspan(ref.index_offset, ref.index_bytes));
    ASSERT_TRUE(chunks.has_value()) << to_string(chunks.error());
    for (const vault::Chunk& chunk : *chunks) {
        ASSERT_LE(chunk.disk_offset + chunk.raw_length, disk.size());
        const MutableBytes target = MutableBytes(disk).subspan(chunk.disk_offset, chunk.raw_length);
        const auto opened = vault::open_chunk(
            *crypto, chunk, Bytes(object).subspan(chunk.stored_offset, chunk.stored_length),
            target);
        ASSERT_TRUE(opened.has_value()) << to_string(opened.error());
    }
}

}  // namespace

ByteVector rebuild(World& world, const vault::ChainState& state, const vault::PointEntry::Cut& cut,
                   std::uint64_t size_bytes) {
    auto store = world.stores()->make();
    auto keys =
        vault::open_machine_keys(*store, *world.kek, world.identity, state.newest.machine, nullptr);
    CW_ASSERT(keys.has_value());
    for (const auto& [version, dek] : state.deks) {
        CW_ASSERT(vault::unwrap_dek(*keys, world.identity, dek).has_value());
    }
    // From the oldest ancestor to the history of the cut.
    std::vector<std::pair<Generation, Seq>> line{{cut.generation, cut.cut}};
    while (true) {
        const auto origin = state.lineage.find({cut.disk, line.back().first});
        if (origin == state.lineage.end() || raw(origin->second.parent_generation) == 0) {
            break;
        }
        line.emplace_back(origin->second.parent_generation, origin->second.parent_seq);
    }
    ByteVector disk(size_bytes);
    for (auto at = line.rbegin(); at != line.rend(); ++at) {
        std::vector<const vault::SegmentRef*> refs;
        for (const auto& [name, ref] : state.segments) {
            if (name.disk == cut.disk && name.generation == at->first &&
                name.first_seq <= at->second) {
                EXPECT_LE(ref.last_seq, at->second);  // No segment spans a barrier.
                refs.push_back(&ref);
            }
        }
        std::ranges::sort(refs, {}, [](const vault::SegmentRef* ref) {
            return std::pair(ref->name.first_seq, !ref->base);
        });
        for (const vault::SegmentRef* const ref : refs) {
            lay(world, *keys, *ref, disk);
        }
    }
    return disk;
}

std::size_t check_points(World& world, const Source& source, const vault::ChainState& state) {
    for (const auto& [id, point] : state.points) {
        const auto snapshot = source.snapshots.find(id);
        EXPECT_TRUE(snapshot != source.snapshots.end());
        for (const vault::PointEntry::Cut& cut : point.cuts) {
            const ByteVector& expected = snapshot->second.at(cut.disk);
            EXPECT_TRUE(rebuild(world, state, cut, expected.size()) == expected)
                << "point " << to_string(id) << " disk " << to_string(cut.disk);
        }
    }
    return state.points.size();
}

}  // namespace cw::upload::test
