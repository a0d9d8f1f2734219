#include "tests/upload/rig.h"

#include "base/assert.h"
#include "base/ids.h"
#include "tests/vault/vault_rig.h"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

namespace cw::upload::test {

EngineOptions quick_options() {
    EngineOptions options;
    options.seal_after_ns = 50 * ns_per_ms;
    options.commit_interval_ns = 20 * ns_per_ms;
    options.pause_first_ns = 2 * ns_per_ms;
    options.pause_max_ns = 20 * ns_per_ms;
    return options;
}

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
        std::copy(stored.table.begin(), stored.table.end(), read.record->table.bytes().begin());
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
    EXPECT_EQ(fenced.why.code, fenced_for);
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
    stores = [this] { return vault->factory(); };
    kek = fakes::make_test_kek("upload", *random);
    auto store = stores()->make();
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
      stores_(shared.stores()) {
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
        machines.insert(stored.header.key.machine);
        to_feed_.push_back(lsn);
        recovered_ = lsn;
    }
    for (const MachineId& machine : machines) {
        engine->post(RecoverCommand{.machine = machine, .server_witness = witness});
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
    std::copy(stored.table.begin(), stored.table.end(), out.record.table.bytes().begin());
    for (std::size_t i = 0; i < out.record.slab_count(); ++i) {
        out.record.slabs[i] = ingest->try_take();
        const std::size_t at = i * pipeline::slab_bytes;
        std::memcpy(out.record.slabs[i].data(), stored.data.data() + at,
                    std::min(pipeline::slab_bytes, stored.data.size() - at));
    }
    return out;
}

void Server::feed() {
    while (feeding && feed_at_most > 0 && !to_feed_.empty()) {
        // Recovered records come without their payload.
        const bool recovered = to_feed_.front() <= recovered_;
        StoredRecord record = record_of(to_feed_.front(), keep_payload && !recovered);
        if (!engine->stored().try_push(record)) {
            return;
        }
        to_feed_.pop_front();
        --feed_at_most;
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
    if (world.answered()) {
        world.clock.advance(static_cast<std::int64_t>(
            world.random->below(static_cast<std::uint64_t>(tick_ns) + 1)));
    }
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
    command.server_witness = witness;
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
        out.back().base_lost = base_lost;
    }
    return out;
}

}  // namespace cw::upload::test
