// Engine: from durable records to committed manifests. The facade that appliance and the simulator
// hold; everything else in this room is behind it.
//
//   stored() ring → AssemblyStage → (transform) → UploadStage × n → AssemblyStage → PublishStage
//                                                            OpenStage ⇄ PublishStage → EngineSink
//
// Threads: one each for assembly, publishing and opening, one per upload stage; or all stages are
// stepped by one thread in any order (simulator). No stage waits, except the OpenStage: it reads a
// whole chain with blocking calls of its own store, which is why it is a stage of its own and no
// other machine's publishing waits for it.
//
// Promises: COMMITTED is told only after the manifest is known to be stored and the GC marks were
// read again; a record is released only after that; a fenced machine publishes and releases
// nothing.
//
// Lifetime: all that EngineContext refers to outlives the engine. Destroying the engine with work
// in flight is a crash: what was not committed comes again from the spool.
#pragma once

#include "base/conditions.h"
#include "base/executor.h"
#include "base/metrics.h"
#include "base/random.h"
#include "egress/upload/options.h"
#include "egress/upload/ports.h"
#include "egress/upload/status.h"
#include "pipeline/ring.h"
#include "pipeline/slab.h"
#include "pipeline/stage.h"

#include <memory>
#include <string_view>

namespace cw::upload {

struct EngineContext {
    Clock& clock;
    Random& random;  // Fit for keys; thread-safe when stages run on several threads.
    Executor& compute;
    blob::StoreFactory& stores;  // Each blob stage makes one store of its own.
    vault::KeyService& kek;
    const vault::VaultIdentity& vault;
    const vault::ServerSigner& signer;
    pipeline::SlabPool& ingest_slabs;    // Watched for pressure only.
    pipeline::SlabPool& readback_slabs;  // >= options.segment_slabs
    pipeline::SlabPool& segment_slabs;   // >= the worst case of one plan (pipeline/budget.h)
    RecordReader& reader;
    EngineSink& sink;
    Conditions& conditions;
    MetricRegistry& metrics;
};

// Who is woken for which stage. Every doorbell may be the same one (single-threaded use).
struct EngineDoorbells {
    pipeline::Doorbell& assembly;
    pipeline::Doorbell& publish;
    pipeline::Doorbell& open;
    std::vector<pipeline::Doorbell*> upload;  // One per upload stage wanted; 1..16.
};

// A stage that waits for its object store: its thread parks in store().wait(), see StoreRunner.
class BlobStage : public pipeline::Stage {
public:
    [[nodiscard]] virtual blob::BlobStore& store() noexcept = 0;
};

class Engine {
public:
    // Asserts the ranges of `options` and the pools' sizes.
    static std::unique_ptr<Engine> create(EngineContext context, const EngineDoorbells& doorbells,
                                          EngineOptions options);
    virtual ~Engine() = default;

    // --- Wiring, before threads start ---
    // On a Runner. It calls the reader's poll(); its event_fd() is the reader's.
    virtual pipeline::Stage& assembly() = 0;
    virtual BlobStage& publisher() = 0;  // On a StoreRunner, as the next two.
    virtual BlobStage& opener() = 0;
    [[nodiscard]] virtual std::size_t upload_count() const = 0;
    virtual BlobStage& uploader(std::size_t index) = 0;

    // --- In ---
    // The spool's thread pushes durable records in append order and rings the assembly doorbell.
    // After a restart everything recovered is pushed before what is new. RecoverCommands do not
    // wait for that: there may be more of it than the backlog takes before a machine is open.
    // Payload may be missing (has_data() false, empty table): it is read back when its turn comes.
    virtual pipeline::Ring<pipeline::StoredRecord>& stored() = 0;
    // Any thread; never waits for I/O. Commands of one thread keep their order.
    virtual void post(Command command) = 0;

    // --- Live options: any thread ---
    virtual void set_lanes(const LaneOptions& lanes) = 0;
    virtual void set_bandwidth(const BandwidthOptions& bandwidth) = 0;
    virtual void set_codec(const pipeline::CodecPolicyOptions& codec) = 0;

    // --- Out: any thread ---
    [[nodiscard]] virtual EngineStatus status() const = 0;
    // Beside the rounds of their runners: an opener's may last long. For a watchdog.
    [[nodiscard]] virtual EngineSigns signs() const = 0;
    // For SIGTERM. With `commit` everything taken from the ring is sealed, uploaded and published;
    // without, nothing new is started and what is on the wire is finished (the spool keeps the
    // rest). drained() turns true when there is nothing left to do. Records and commands arriving
    // afterwards are left alone.
    virtual void drain(bool commit) = 0;
    [[nodiscard]] virtual bool drained() const = 0;
};

}  // namespace cw::upload
