#include "tests/upload/rig.h"

#include "base/assert.h"
#include "base/ids.h"
#include "tests/vault/vault_rig.h"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

namespace cw::upload::test {

using pipeline::Record;
using pipeline::RecordHeader;
using pipeline::RecordType;
using pipeline::StoredRecord;

pipeline::Lsn CacheModel::append(const RecordHeader& header, ByteVector table, ByteVector data) {
    const pipeline::Lsn lsn{next_lsn_++};
    records[lsn] = {.header = header, .table = std::move(table), .data = std::move(data)};
    return lsn;
}

void CacheModel::read(pipeline::Lsn lsn, Record& record, std::function<void(Result<void>)> done) {
    reads_.push_back({lsn, &record, std::move(done)});
}

std::size_t CacheModel::poll() {
    const std::size_t count = std::min<std::size_t>(reads_.size(), 8);
    for (std::size_t i = 0; i < count; ++i) {
        Read read = std::move(reads_.front());
        reads_.pop_front();
        ++read_count;
        const auto at = records.find(read.lsn);
        if (at == records.end() || at->second.damaged) {
            read.done(fail(Errc::record_corrupt, "lsn " + std::to_string(raw(read.lsn))));
            continue;
        }
        const Stored& stored = at->second;
        EXPECT_EQ(read.record->header.key, stored.header.key);
        EXPECT_EQ(read.record->header.seq, stored.header.seq);
        EXPECT_EQ(read.record->header.data_bytes, stored.header.data_bytes);
        read.record->table = pipeline::TableBuffer(stored.table.size());
        std::ranges::copy(stored.table, read.record->table.bytes().begin());
        for (std::size_t at_byte = 0; at_byte < stored.data.size();
             at_byte += pipeline::slab_bytes) {
            const std::size_t length = std::min(pipeline::slab_bytes, stored.data.size() - at_byte);
            std::memcpy(read.record->slabs[at_byte / pipeline::slab_bytes].data(),
                        stored.data.data() + at_byte, length);
        }
        read.done({});
    }
    return count;
}

bool Listener::opened(pipeline::MachineOpened& opened) {
    if (full) {
        return false;
    }
    answers.push_back(std::move(opened));
    return true;
}

bool Listener::committed(std::uint32_t, pipeline::Committed& committed) {
    if (full) {
        return false;
    }
    EXPECT_GE(committed.manifest_number, newest_number);
    newest_number = committed.manifest_number;
    newest_hash = committed.manifest_hash;
    for (const pipeline::PointStatus& status : committed.points) {
        points[status.id] = status;
    }
    for (const pipeline::Committed::Disk& disk : committed.disks) {
        Seq& known = committed_seq[{disk.disk, disk.generation}];
        EXPECT_GE(disk.committed, known);
        known = disk.committed;
    }
    return true;
}

bool Listener::damaged(DamagedRecords& damaged) {
    damage.push_back(std::move(damaged));
    return true;
}

bool Listener::fenced(FencedMachine& fenced) {
    EXPECT_EQ(fenced.why.code, Errc::fenced);
    ++fencings;
    return true;
}

bool Listener::release(pipeline::Release& release) {
    if (full) {
        return false;
    }
    for (const pipeline::Lsn lsn : release.lsns) {
        const auto at = cache_.records.find(lsn);
        if (at == cache_.records.end()) {
            ++unknown_releases;
            continue;
        }
        // A write is let go only when it is committed (or stands in an older history).
        const RecordHeader& header = at->second.header;
        const auto known = committed_seq.find({header.key.disk, header.key.generation});
        if (strict && header.type == RecordType::write && known != committed_seq.end()) {
            EXPECT_LE(raw(header.seq) + header.seq_count - 1, raw(known->second));
        }
        cache_.records.erase(at);
        ++released;
    }
    return true;
}

World::World(std::uint64_t seed, std::int64_t latency_ns, bool waiting_moves_clock)
    : random(make_seeded_random(seed)) {
    fakes::MemoryVaultOptions vault_options;
    vault_options.seed = seed;
    vault_options.shuffle = true;
    vault_options.latency_ns_max = latency_ns;
    if (waiting_moves_clock) {
        vault_options.on_wait = [this](std::int64_t ns) {
            clock.advance(std::clamp<std::int64_t>(ns, ns_per_ms, 100 * ns_per_ms));
        };
    }
    vault = std::make_unique<fakes::MemoryVault>(clock, vault_options);
    kek = fakes::make_test_kek("upload", *random);
    auto store = vault->factory()->make();
    auto made = vault::create_vault(*store, *kek, *random);
    CW_ASSERT(made.has_value());
    identity = *made;
}

Server::Server(World& shared, EngineOptions engine_options, std::uint8_t server_number)
    : world(shared),
      options(std::move(engine_options)),
      conditions(std::make_unique<Conditions>(shared.clock)),
      metrics(make_metric_registry()),
      ingest(*pipeline::SlabPool::create("ingest", 24)),
      readback(*pipeline::SlabPool::create("readback", 24)),
      segment(*pipeline::SlabPool::create("segment", 60)),
      compute_(make_inline_executor()),
      stores_(shared.vault->factory()) {
    options.segment_slabs = 16;
    options.ingest_slabs_low = 6;
    auto store = stores_->make();
    ServerId id;
    id.bytes[15] = std::byte{server_number};
    auto signer = vault::make_server_signer(*store, *world.kek, *world.random, id);
    CW_ASSERT(signer.has_value());
    signer_ = std::make_unique<vault::ServerSigner>(std::move(*signer));
}

Server::~Server() {
    crash();
}

void Server::start() {
    CW_ASSERT(engine == nullptr);
    const EngineDoorbells one{.assembly = doorbell_,
                              .publish = doorbell_,
                              .open = doorbell_,
                              .upload = {&doorbell_, &doorbell_}};
    engine = Engine::create({.clock = engine_clock != nullptr ? *engine_clock : world.clock,
                             .random = engine_random != nullptr ? *engine_random : *world.random,
                             .compute = compute != nullptr ? *compute : *compute_,
                             .stores = *stores_,
                             .kek = *world.kek,
                             .vault = world.identity,
                             .signer = *signer_,
                             .ingest_slabs = *ingest,
                             .readback_slabs = *readback,
                             .segment_slabs = *segment,
                             .reader = *reader,
                             .sink = *sink,
                             .conditions = *conditions,
                             .metrics = *metrics},
                            doorbells.value_or(one), options);
    to_feed_.clear();
    std::set<MachineId> machines;
    for (const auto& [lsn, stored] : cache.records) {
        // Recovered records come without their payload.
        StoredRecord record = record_of(lsn, false);
        machines.insert(stored.header.key.machine);
        while (!engine->stored().try_push(record)) {
            engine->assembly().step(64);
        }
    }
    for (const MachineId& machine : machines) {
        engine->post(RecoverCommand{.machine = machine, .server_witness = {}});
    }
}

void Server::crash() {
    engine.reset();
    cache.crash();
    to_feed_.clear();
    listener.answers.clear();
}

StoredRecord Server::record_of(pipeline::Lsn lsn, bool with_data) {
    const CacheModel::Stored& stored = cache.records.at(lsn);
    StoredRecord out;
    out.lsn = lsn;
    out.record.header = stored.header;
    if (!with_data || ingest->free_count() < out.record.slab_count()) {
        return out;
    }
    out.record.received = world.clock.boot();
    out.record.table = pipeline::TableBuffer(stored.table.size());
    std::ranges::copy(stored.table, out.record.table.bytes().begin());
    for (std::size_t i = 0; i < out.record.slab_count(); ++i) {
        out.record.slabs[i] = ingest->try_take();
        const std::size_t at = i * pipeline::slab_bytes;
        std::memcpy(out.record.slabs[i].data(), stored.data.data() + at,
                    std::min(pipeline::slab_bytes, stored.data.size() - at));
    }
    return out;
}

void Server::feed() {
    while (!to_feed_.empty()) {
        StoredRecord record = record_of(to_feed_.front(), keep_payload);
        if (!engine->stored().try_push(record)) {
            return;
        }
        to_feed_.pop_front();
    }
}

void Server::step(std::int64_t tick_ns) {
    feed();
    std::vector<pipeline::Stage*> stages{&engine->assembly(), &engine->publisher(),
                                         &engine->opener()};
    for (std::size_t i = 0; i < engine->upload_count(); ++i) {
        stages.push_back(&engine->uploader(i));
    }
    for (std::size_t left = stages.size(); left > 0; --left) {
        const std::size_t pick = world.random->below(left);
        std::swap(stages[pick], stages[left - 1]);
        stages[left - 1]->step(1 + world.random->below(16));
    }
    world.clock.advance(
        static_cast<std::int64_t>(world.random->below(static_cast<std::uint64_t>(tick_ns) + 1)));
}

bool Server::settle(std::size_t limit) {
    return run_until([this] { return cache.records.empty() && to_feed_.empty(); }, limit);
}

pipeline::MachineOpened Server::hello(const MachineId& machine, std::vector<SourceDisk>& disks,
                                      Seq oldest_held_behind_next, bool catch_up_possible) {
    OpenCommand command;
    command.open.machine = machine;
    command.open.session = SessionId{++session};
    command.open.token = session;
    command.open.name = "machine under test";
    for (const SourceDisk& disk : disks) {
        command.open.disks.push_back(
            {.disk = disk.id,
             .size_bytes = disk.content.size(),
             .generation = disk.generation,
             .next_seq = disk.next,
             .oldest_held =
                 Seq{raw(disk.next) - std::min(raw(oldest_held_behind_next), raw(disk.next) - 1)},
             .catch_up_possible = catch_up_possible,
             .name = "disk"});
    }
    command.streams = watermarks();
    command.open.witness_number = listener.newest_number;
    command.open.witness_hash = listener.newest_hash;
    engine->post(std::move(command));
    const bool answered = run_until(
        [this] { return !listener.answers.empty() && listener.answers.back().token == session; });
    CW_ASSERT(answered);
    pipeline::MachineOpened answer = std::move(listener.answers.back());
    listener.answers.clear();
    return answer;
}

void Server::append(const RecordHeader& header, ByteVector table, ByteVector data) {
    if (!header.key.disk.is_nil()) {
        StreamWatermark& mark = marks_[header.key];
        mark.key = header.key;
        if (header.type == RecordType::base) {
            if (header.seq == mark.fence) {
                mark.base_ordinals.push_back(header.ordinal);
            }
        } else if (header.seq_count > 0) {
            mark.durable = advance(header.seq, header.seq_count - 1);
        }
        if (header.type == RecordType::resync_begin) {
            mark.fence = header.seq;
            mark.base_ordinals.clear();
        } else if (header.type == RecordType::resync_end) {
            mark.fence = Seq{};
            mark.base_ordinals.clear();
        }
    }
    to_feed_.push_back(cache.append(header, std::move(table), std::move(data)));
}

std::vector<StreamWatermark> Server::watermarks() const {
    std::vector<StreamWatermark> out;
    for (const auto& [key, mark] : marks_) {
        out.push_back(mark);
    }
    return out;
}

Source::Source(World& shared, std::vector<std::uint64_t> disk_bytes)
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
    return out;
}

void Source::begin_sync(Server& server, SourceDisk& disk) {
    RecordHeader begin = header(server, disk, RecordType::resync_begin);
    begin.seq = disk.fence = disk.next;
    begin.seq_count = 1;
    disk.next = next(disk.next);
    send(server, begin, {}, {});
}

void Source::end_sync(Server& server, SourceDisk& disk) {
    RecordHeader end = header(server, disk, RecordType::resync_end);
    end.seq = disk.next;
    end.seq_count = 1;
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
    auto store = world.vault->factory()->make();
    auto keys = vault::open_machine_keys(*store, *world.kek, world.identity, machine, nullptr);
    CW_ASSERT(keys.has_value());
    auto state = vault::read_chain(*store, world.identity, *keys, {});
    CW_ASSERT(state.has_value() && state->has_value());
    return std::move(**state);
}

namespace {

void lay(World& world, const vault::MachineKeys& keys, const vault::SegmentRef& ref,
         ByteVector& disk) {
    const auto object = world.vault->bytes(vault::segment_blob(ref.name));
    ASSERT_TRUE(object.has_value()) << to_string(vault::segment_blob(ref.name));
    ASSERT_EQ(object->size(), ref.object_bytes);
    const auto crypto =
        vault::SegmentCrypto::make(world.identity.id, ref, keys.deks.at(ref.dek_version));
    const auto chunks =
        vault::open_index(ref, *crypto, Bytes(*object).subspan(ref.index_offset, ref.index_bytes));
    ASSERT_TRUE(chunks.has_value()) << to_string(chunks.error());
    for (const vault::Chunk& chunk : *chunks) {
        ASSERT_LE(chunk.disk_offset + chunk.raw_length, disk.size());
        const MutableBytes target = MutableBytes(disk).subspan(chunk.disk_offset, chunk.raw_length);
        const auto opened = vault::open_chunk(
            *crypto, chunk, Bytes(*object).subspan(chunk.stored_offset, chunk.stored_length),
            target);
        ASSERT_TRUE(opened.has_value()) << to_string(opened.error());
    }
}

}  // namespace

ByteVector rebuild(World& world, const vault::ChainState& state, const vault::PointEntry::Cut& cut,
                   std::uint64_t size_bytes) {
    auto store = world.vault->factory()->make();
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
