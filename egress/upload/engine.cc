#include "egress/upload/engine.h"

#include "base/assert.h"
#include "egress/upload/assembly_stage.h"
#include "egress/upload/open_stage.h"
#include "egress/upload/publish_stage.h"
#include "egress/upload/pulse_store.h"
#include "egress/upload/upload_stage.h"

namespace cw::upload {
namespace {

constexpr std::size_t upload_stages_max = 16;
// The worst case of one plan in the segment pool: its raw bytes, chunk by chunk rounded to slabs.
constexpr std::size_t segment_slabs_min = pipeline::plan_raw_bytes_max / pipeline::slab_bytes + 1;

void check_options(const EngineContext& context, const EngineOptions& options) {
    CW_ASSERT(options.segment_raw_bytes >= pipeline::record_data_bytes_max &&
              options.segment_raw_bytes <= pipeline::plan_raw_bytes_max);
    CW_ASSERT(options.segment_slabs >= pipeline::slabs_per_record_max &&
              options.segment_slabs <= context.readback_slabs.count());
    CW_ASSERT(context.segment_slabs.count() >= segment_slabs_min);
    CW_ASSERT(options.jobs >= 1 && options.backlog_records >= 1 && options.stored_ring >= 1 &&
              options.stage_rings >= 1);
    CW_ASSERT(options.seal_after_ns > 0 && options.commit_interval_ns >= 0);
    CW_ASSERT(options.checkpoint_every >= 2);
    CW_ASSERT(options.pause_first_ns > 0 && options.pause_max_ns >= options.pause_first_ns);
}

// The channels between two stages, one for each direction.
template <typename Forth, typename Back>
struct Link {
    Link(std::size_t capacity, pipeline::Doorbell& to, pipeline::Doorbell& from)
        : forth(capacity, to), back(capacity, from) {}
    Channel<Forth> forth;
    Channel<Back> back;
};

class EngineImpl final : public Engine {
public:
    EngineImpl(const EngineContext& context, const EngineDoorbells& doorbells,
               EngineOptions options);

    pipeline::Stage& assembly() override { return *assembly_; }
    BlobStage& publisher() override { return *publisher_; }
    BlobStage& opener() override { return *opener_; }
    [[nodiscard]] std::size_t upload_count() const override { return uploaders_.size(); }
    BlobStage& uploader(std::size_t index) override { return *uploaders_[index]; }
    pipeline::Ring<pipeline::StoredRecord>& stored() override { return stored_; }
    void post(Command command) override;
    void set_lanes(const LaneOptions& lanes) override;
    void set_bandwidth(const BandwidthOptions& bandwidth) override;
    void set_codec(const pipeline::CodecPolicyOptions& codec) override;
    [[nodiscard]] EngineStatus status() const override { return board_.read(); }
    [[nodiscard]] EngineSigns signs() const override;
    void drain(bool commit) override;
    [[nodiscard]] bool drained() const override { return board_.drained(); }

private:
    void make_assembly(const EngineContext& context);

    const EngineOptions options_;
    EngineDoorbells doorbells_;
    pipeline::Ring<pipeline::StoredRecord> stored_;
    CommandBox commands_;
    LiveOptions live_;
    StatusBoard board_;
    Link<AssemblyEvent, PublishEvent> publishing_;
    Link<OpenTask, OpenOutcome> opening_;
    std::vector<std::unique_ptr<Link<UploadOrder, UploadAnswer>>> uploading_;
    // Destroyed from the end: stores let go of segments and chains before those are gone.
    std::unique_ptr<AssemblyStage> assembly_;
    std::unique_ptr<PublishStage> publisher_;
    std::unique_ptr<OpenStage> opener_;
    const PulseStore* publisher_store_ = nullptr;  // The stages' own.
    const PulseStore* opener_store_ = nullptr;
    std::vector<const PulseStore*> uploader_stores_;
    std::vector<std::unique_ptr<UploadStage>> uploaders_;
};

EngineImpl::EngineImpl(const EngineContext& context, const EngineDoorbells& doorbells,
                       EngineOptions options)
    : options_(std::move(options)),
      doorbells_(doorbells),
      stored_(options_.stored_ring),
      publishing_(options_.stage_rings, doorbells.publish, doorbells.assembly),
      opening_(options_.stage_rings, doorbells.open, doorbells.publish) {
    CW_ASSERT(!doorbells_.upload.empty() && doorbells_.upload.size() <= upload_stages_max);
    check_options(context, options_);
    for (pipeline::Doorbell* const doorbell : doorbells_.upload) {
        uploading_.push_back(std::make_unique<Link<UploadOrder, UploadAnswer>>(
            options_.stage_rings, *doorbell, doorbells_.assembly));
    }
    make_assembly(context);
    const auto watched = [&context](const PulseStore*& shown) {
        auto store = std::make_unique<PulseStore>(context.stores.make(), context.clock);
        shown = store.get();
        return store;
    };
    publisher_ =
        std::make_unique<PublishStage>(PublishStage::Context{.clock = context.clock,
                                                             .random = context.random,
                                                             .store = watched(publisher_store_),
                                                             .vault = context.vault,
                                                             .signer = context.signer,
                                                             .options = options_,
                                                             .sink = context.sink,
                                                             .conditions = context.conditions,
                                                             .metrics = context.metrics,
                                                             .commands = commands_,
                                                             .events = publishing_.forth,
                                                             .replies = publishing_.back,
                                                             .open_tasks = opening_.forth,
                                                             .open_outcomes = opening_.back,
                                                             .board = board_});
    opener_ = std::make_unique<OpenStage>(
        OpenStage::Context{.clock = context.clock,
                           .random = context.random,
                           .store = watched(opener_store_),
                           .kek = context.kek,
                           .vault = context.vault,
                           .signer = context.signer,
                           .tasks = opening_.forth,
                           .outcomes = opening_.back,
                           .memory_max = options_.chain_bytes_max,
                           .checkpoints_kept = options_.checkpoints_kept});
    for (std::size_t i = 0; i < uploading_.size(); ++i) {
        const PulseStore*& store = uploader_stores_.emplace_back();
        uploaders_.push_back(std::make_unique<UploadStage>(
            UploadStage::Context{.clock = context.clock,
                                 .store = watched(store),
                                 .orders = uploading_[i]->forth,
                                 .answers = uploading_[i]->back,
                                 .index = i,
                                 .read_back_every = options_.read_back_every}));
    }
}

EngineSigns EngineImpl::signs() const {
    EngineSigns signs{
        .publish = publisher_store_->sign(), .open = opener_store_->sign(), .upload = {}};
    for (const PulseStore* const store : uploader_stores_) {
        signs.upload.push_back(store->sign());
    }
    return signs;
}

void EngineImpl::make_assembly(const EngineContext& context) {
    AssemblyStage::Context assembly{.clock = context.clock,
                                    .random = context.random,
                                    .options = options_,
                                    .reader = context.reader,
                                    .sink = context.sink,
                                    .conditions = context.conditions,
                                    .metrics = context.metrics,
                                    .ingest_slabs = context.ingest_slabs,
                                    .stored = stored_,
                                    .replies = publishing_.back,
                                    .events = publishing_.forth,
                                    .orders = {},
                                    .answers = {},
                                    .live = live_,
                                    .board = board_};
    for (const auto& link : uploading_) {
        assembly.orders.push_back(&link->forth);
        assembly.answers.push_back(&link->back);
    }
    assembly_ = std::make_unique<AssemblyStage>(
        std::move(assembly), SegmentBuilder::Context{.clock = context.clock,
                                                     .random = context.random,
                                                     .compute = context.compute,
                                                     .reader = context.reader,
                                                     .readback_slabs = context.readback_slabs,
                                                     .segment_slabs = context.segment_slabs,
                                                     .metrics = context.metrics,
                                                     .vault = context.vault,
                                                     .doorbell = doorbells_.assembly});
}

void EngineImpl::post(Command command) {
    commands_.post(std::move(command));
    doorbells_.publish.ring();
}

void EngineImpl::set_lanes(const LaneOptions& lanes) {
    live_.set_lanes(lanes);
    doorbells_.assembly.ring();
}

void EngineImpl::set_bandwidth(const BandwidthOptions& bandwidth) {
    live_.set_bandwidth(bandwidth);
    doorbells_.assembly.ring();
}

void EngineImpl::set_codec(const pipeline::CodecPolicyOptions& codec) {
    live_.set_codec(codec);
    doorbells_.assembly.ring();
}

void EngineImpl::drain(bool commit) {
    board_.drain.store(commit ? DrainMode::commit : DrainMode::keep);
    doorbells_.assembly.ring();
    doorbells_.publish.ring();
}

}  // namespace

std::unique_ptr<Engine> Engine::create(EngineContext context, const EngineDoorbells& doorbells,
                                       EngineOptions options) {
    return std::make_unique<EngineImpl>(context, doorbells, std::move(options));
}

}  // namespace cw::upload
