// A whole upload path in one thread: a modelled machine that writes, a modelled cache that forgets
// nothing until it is told to, the real engine, and a vault in memory. Deterministic from its seed.
#pragma once

#include "egress/upload/engine.h"
#include "pipeline/extent_table.h"
#include "tests/fakes/memory_vault.h"

#include <deque>
#include <map>
#include <memory>
#include <set>

namespace cw::upload::test {

// The cache: every record that was appended and not released.
class CacheModel final : public RecordReader {
public:
    struct Stored {
        pipeline::RecordHeader header;
        ByteVector table, data;
        bool damaged = false;
    };
    pipeline::Lsn append(const pipeline::RecordHeader& header, ByteVector table, ByteVector data);
    void read(pipeline::Lsn lsn, pipeline::Record& record,
              std::function<void(Result<void>)> done) override;
    std::size_t poll() override;
    [[nodiscard]] std::size_t in_flight() const noexcept override { return reads_.size(); }
    // Reads under way die with the process.
    void crash() { reads_.clear(); }

    std::map<pipeline::Lsn, Stored> records;
    std::size_t read_count = 0;

private:
    struct Read {
        pipeline::Lsn lsn;
        pipeline::Record* record;
        std::function<void(Result<void>)> done;
    };
    std::deque<Read> reads_;
    std::uint64_t next_lsn_ = 1;
};

// What the engine says. It may be told to be full.
class Listener final : public EngineSink {
public:
    explicit Listener(CacheModel& cache) : cache_(cache) {}
    bool opened(pipeline::MachineOpened& opened) override;
    bool committed(std::uint32_t reactor, pipeline::Committed& committed) override;
    bool damaged(DamagedRecords& damaged) override;
    bool fenced(FencedMachine& fenced) override;
    bool release(pipeline::Release& release) override;
    [[nodiscard]] bool room_is_wanted() const override { return room_wanted; }

    bool room_wanted = false;
    std::deque<pipeline::MachineOpened> answers;
    std::map<PointId, pipeline::PointStatus> points;
    std::map<std::pair<DiskId, Generation>, Seq> committed_seq;
    std::vector<DamagedRecords> damage;
    std::size_t fencings = 0;
    Errc fenced_for = Errc::fenced;
    std::uint64_t newest_number = 0;
    Sha256 newest_hash{};
    bool full = false;
    bool strict = true;  // What was committed before a crash may be released without being told.
    std::size_t released = 0, unknown_releases = 0;

private:
    CacheModel& cache_;
};

// One protected disk as its source knows it.
struct SourceDisk {
    DiskId id;
    Generation generation{1};
    Seq next{1};
    Seq fence{};
    ByteVector content;
};

// The vault and clock that several engines (servers) may share.
struct World {
    explicit World(std::uint64_t seed, std::int64_t latency_ns = 0,
                   bool waiting_moves_clock = true);
    ManualClock clock;
    std::unique_ptr<Random> random;
    std::unique_ptr<fakes::MemoryVault> vault;
    std::unique_ptr<vault::KeyService> kek;
    vault::VaultIdentity identity;
    // Where servers and readers find the vault: in memory, unless a test puts it elsewhere.
    std::function<std::unique_ptr<blob::StoreFactory>()> stores;
    // Whether no answer is outstanding from elsewhere; if one is, no time passes.
    std::function<bool()> answered = [] { return true; };
};

// One process server with its cache, and the machine that talks to it.
class Server {
public:
    Server(World& world, EngineOptions options, std::uint8_t server_number = 1);
    ~Server();

    void start();  // A process with an empty memory; feeds what the cache holds.
    void crash();
    // Steps every stage once in random order; moves the clock by up to `tick_ns`.
    void step(std::int64_t tick_ns = ns_per_ms);
    // Until nothing moves any more within `limit` steps; false if that never happens.
    bool settle(std::size_t limit = 20000);
    template <typename Predicate>
    bool run_until(Predicate done, std::size_t limit = 20000) {
        for (std::size_t i = 0; i < limit && !done(); ++i) {
            step();
        }
        return done();
    }

    // HELLO for the disks; returns the answer.
    pipeline::MachineOpened hello(const MachineId& machine, std::vector<SourceDisk>& disks,
                                  Seq oldest_held_behind_next = Seq{0},
                                  bool catch_up_possible = false);
    void append(const pipeline::RecordHeader& header, ByteVector table, ByteVector data);
    [[nodiscard]] std::vector<StreamWatermark> watermarks() const;

    World& world;
    EngineOptions options;
    CacheModel cache;
    Listener listener{cache};
    std::unique_ptr<Conditions> conditions;
    std::unique_ptr<MetricRegistry> metrics;
    std::unique_ptr<pipeline::SlabPool> ingest, readback, segment;
    std::unique_ptr<Engine> engine;
    // Set before start() to run the stages on threads.
    RecordReader* reader = &cache;
    EngineSink* sink = &listener;
    Executor* compute = nullptr;  // Null: inline.
    Random* engine_random = nullptr;
    Clock* engine_clock = nullptr;
    std::optional<EngineDoorbells> doorbells;
    void feed();               // Hands over what was appended, as far as the ring takes it.
    bool keep_payload = true;  // Feed records with their data while there are slabs.
    bool feeding = true;       // False: nothing is handed over.
    std::size_t feed_at_most = SIZE_MAX;  // Records that are still handed over.
    vault::ChainWitness witness;          // What the server itself remembers.
    bool base_lost = false;  // The cache may have lost what lay beneath every open fence.
    std::uint32_t session = 0;

private:
    [[nodiscard]] pipeline::StoredRecord record_of(pipeline::Lsn lsn, bool with_data);

    std::unique_ptr<Executor> compute_;
    std::unique_ptr<blob::StoreFactory> stores_;
    std::unique_ptr<vault::ServerSigner> signer_;
    pipeline::Doorbell doorbell_;
    std::deque<pipeline::Lsn> to_feed_;
    pipeline::Lsn recovered_{};  // Up to here records are from before the start.
    std::map<pipeline::StreamKey, StreamWatermark> marks_;
};

// Everything that waits for time waits for milliseconds.
EngineOptions quick_options();

// A machine with disks, writing at random through a server.
class Source {
public:
    Source(World& world, const std::vector<std::uint64_t>& disk_bytes);

    void begin_sync(Server& server, SourceDisk& disk);
    // The whole disk, or with `only` the blocks in it, as BASE beneath its open fence.
    void send_base(Server& server, SourceDisk& disk);
    // The same over what changed since `told`, so many sequences above the last one.
    void catch_up(Server& server, SourceDisk& disk, Seq told, std::uint64_t leap);
    // A fence with nothing beneath it, so many sequences above the last one.
    void resume(Server& server, SourceDisk& disk, std::uint64_t leap);
    // `super_chunks`: what it counts beneath the fence.
    void end_sync(Server& server, SourceDisk& disk, std::uint32_t super_chunks = 0);
    void sync_all(Server& server);
    void write(Server& server, SourceDisk& disk);  // One record of 1..6 random extents.
    PointId point(Server& server, pipeline::PointKind kind = pipeline::PointKind::crash,
                  GroupId group = {}, bool provisional = false);
    void point_result(Server& server, const PointId& id, const GroupId& group, bool committed);

    // After HELLO: what the log holds beyond what the server has. Points are told again.
    void resend(Server& server, const pipeline::MachineOpened& answer);

    World& world;
    MachineId machine;
    bool keep_log = false;
    bool tells_size = true;  // As every ingest does; false: records of an older version.
    std::vector<CacheModel::Stored> log;  // Of writes and points.
    std::vector<SourceDisk> disks;
    std::map<PointId, std::map<DiskId, ByteVector>> snapshots;

private:
    void send(Server& server, const pipeline::RecordHeader& sent, ByteVector table,
              ByteVector data);
    pipeline::RecordHeader header(Server& server, const SourceDisk& disk,
                                  pipeline::RecordType type);
};

// Opens the machine's chain as any reader would.
vault::ChainState read_state(World& world, const MachineId& machine);
// The bytes of a disk at a cut, from the vault alone.
ByteVector rebuild(World& world, const vault::ChainState& state, const vault::PointEntry::Cut& cut,
                   std::uint64_t size_bytes);
// Every point of the chain equals the source's snapshot; returns how many there are.
std::size_t check_points(World& world, const Source& source, const vault::ChainState& state);

}  // namespace cw::upload::test
