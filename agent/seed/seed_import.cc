#include "agent/seed/seed_import.h"

#include "agent/session/own_identity.h"
#include "base/log.h"
#include "ingest/wire/features.h"

#include <algorithm>

#include <poll.h>

namespace cw::agent {
namespace {

// There while an import may have ended its fence for a point: the disk may count as protected.
constexpr std::string_view pointing_mark = "/pointing";
constexpr std::size_t log_slabs = 16, base_slabs = 16;
constexpr std::int64_t meet_limit_ns = 60 * ns_per_s, leave_limit_ns = 20 * ns_per_s,
                       observe_ns = 250 * ns_per_ms, idle_wait_ns = ns_per_s;

}  // namespace

SeedImport::SeedImport(SeedImportOptions options, SeedImage& image, Clock& clock, Random& random)
    : options_(std::move(options)), image_(image), clock_(clock), random_(random) {}

SeedImport::~SeedImport() {
    connector_.reset();  // Its thread rings the doorbell.
}

Result<std::unique_ptr<SeedImport>> SeedImport::create(SeedImportOptions options, SeedImage& image,
                                                       Clock& clock, Random& random) {
    CW_TRY_ASSIGN(const MachineId machine, own_machine_id(options.target.files));
    std::unique_ptr<SeedImport> import(new SeedImport(std::move(options), image, clock, random));
    CW_TRY(import->start(machine));
    return import;
}

Result<void> SeedImport::start(const MachineId& machine) {
    disk_ = make_posix_disk();
    map_disk_ = make_posix_disk();
    CW_TRY_ASSIGN(lock_, lock_directory(*disk_, options_.directory));
    CW_TRY_ASSIGN(state_, StateFile::open(*disk_, options_.directory));
    const DiskId id = disk_id_of(machine, options_.disk_name);
    CW_TRY(state_->update([&](AgentState& state) {
        ++state.boot_counter;
        state.disks.assign(1, DiskState{.id = id,
                                        .name = options_.disk_name,
                                        .path = {},
                                        .size_bytes = image_.size(),
                                        .own = {},
                                        .image_print = {}});
    }));
    CW_TRY_ASSIGN(again_, disk_->exists(options_.directory + std::string(pointing_mark)));
    CW_TRY_ASSIGN(pool_, pipeline::SlabPool::create("seed", log_slabs));
    CW_TRY_ASSIGN(base_pool_, pipeline::SlabPool::create("seed base", base_slabs));
    outbox_ = std::make_unique<Outbox>(mib);
    outbox_->on_push([this] { doorbell_.ring(); });
    connector_ = make_tls_connector(options_.target, [this] { doorbell_.ring(); });
    CW_TRY_ASSIGN(DirtyMap map, DirtyMap::create(*map_disk_, {options_.directory + "/seed.map", id,
                                                              image_.size()}));
    capture_ = std::make_unique<DiskCapture>(
        DiskCapture::Start{.key = {machine, id, Generation{}}}, std::move(map),
        DiskCapture::Parts{image_, *outbox_, *pool_, clock_, *state_});
    replicator_ = std::make_unique<Replicator>(
        Replicator::Options{.machine = machine,
                            .machine_name = options_.machine_name,
                            .software = "causeway-agent 0.1.0 seed import",
                            .features = options_.over || again_ ? 0 : wire::feature_seed},
        Replicator::Context{*connector_, *outbox_, *pool_, *base_pool_, *state_, clock_, random_});
    replicator_->add_disk(*capture_, options_.disk_name, false);
    replicator_->hold_fences(!options_.point_of);
    return {};
}

void SeedImport::stop() noexcept {
    stop_asked_.store(true);
    doorbell_.ring();
}

Result<SeedReport> SeedImport::run(const Observer& observe) {
    begun_ = clock_.boot();
    Nanos observed{};
    while (!replicator_->ended()) {
        const bool busy = replicator_->step();
        const Replicator::Status status = replicator_->status();
        CW_TRY(judge(status));
        CW_TRY(advance(status));
        if (observe && clock_.boot() - observed >= observe_ns) {
            observed = clock_.boot();
            observe(status);
        }
        park(busy);
    }
    if (again_ || options_.point_of) {
        CW_TRY(disk_->remove(options_.directory + std::string(pointing_mark)));
    }
    const Replicator::Status status = replicator_->status();
    const auto& disk = status.disks.front();
    return SeedReport{disk.id, disk.generation, image_.size(), status.sent_bytes, point_};
}

// Whether it makes sense to go on.
Result<void> SeedImport::judge(const Replicator::Status& status) {
    if (phase_ == Phase::leaving) {
        return {};
    }
    if (image_.trouble()) {
        return std::unexpected(*image_.trouble());
    }
    if (stop_asked_.load()) {
        return fail(Errc::cancelled, "the import: repeated, it goes on with what is missing");
    }
    const auto& disk = status.disks.front();
    if (disk.phase == "rejected") {
        return fail(Errc::authz_denied, disk.reason);
    }
    if (!met_ && status.link == LinkState::live) {
        CW_TRY(met());
    }
    const bool late = !met_ && clock_.boot() - begun_ >= meet_limit_ns;
    if (status.last_error && (status.link == LinkState::critical || late)) {
        return std::unexpected(*status.last_error);
    }
    return {};
}

// The server has not refused.
Result<void> SeedImport::met() {
    met_ = true;
    const std::string path = options_.directory + std::string(pointing_mark);
    return options_.point_of ? write_file_atomically(*disk_, path, {}) : Result<void>{};
}

Result<void> SeedImport::advance(const Replicator::Status& status) {
    const BaseSender& base = replicator_->base(0);
    if (phase_ == Phase::copying && status.link == LinkState::live) {
        if (options_.point_of && !point_done_) {
            return advance_point();
        }
        return base.finished() ? mark() : Result<void>{};
    }
    if (phase_ == Phase::pointing) {
        return advance_point();
    }
    if (phase_ != Phase::marking) {
        return {};
    }
    if (base.fence() != mark_) {
        phase_ = Phase::copying;  // Another server, or a damaged cache: what is missing goes again.
    } else if (status.disks.front().committed >= mark_) {
        phase_ = Phase::leaving;
        replicator_->begin_stop(false, leave_limit_ns);
    }
    return {};
}

// The fence is ended as an agent would; the point stands right behind it.
Result<void> SeedImport::advance_point() {
    if (phase_ == Phase::copying) {
        if (!replicator_->consistent()) {
            return {};
        }
        auto made = replicator_->make_point(pipeline::PointKind::crash, "seed", {},
                                            std::min(*options_.point_of, clock_.wall()));
        if (made) {
            point_ = *made;
            phase_ = Phase::pointing;
        }
        return {};
    }
    const TrackedPoint* const point = replicator_->points().find(*point_);
    if (point == nullptr || point->phase == PointPhase::dropped) {
        phase_ = Phase::copying;
        return {};
    }
    if (point->phase != PointPhase::committed) {
        return {};
    }
    point_done_ = true;
    replicator_->hold_fences(true);
    return mark();
}

Result<void> SeedImport::mark() {
    log_info("agent.seed.copied");
    CW_TRY_ASSIGN(mark_, replicator_->begin_bare_fence(0));
    phase_ = Phase::marking;
    return {};
}

void SeedImport::park(bool busy) {
    if (busy) {
        return;
    }
    doorbell_.prepare();
    if (replicator_->step()) {
        doorbell_.cancel();
        return;
    }
    std::vector<pollfd> waiting{{doorbell_.fd(), POLLIN, 0}};
    if (replicator_->fd() >= 0) {
        const int events = POLLIN | (replicator_->wants_write() ? POLLOUT : 0);
        waiting.push_back({replicator_->fd(), static_cast<short>(events), 0});
    }
    const std::int64_t wait = std::clamp<std::int64_t>(replicator_->next_deadline() - clock_.boot(),
                                                       0, std::min(idle_wait_ns, observe_ns));
    ::poll(waiting.data(), waiting.size(), static_cast<int>(wait / ns_per_ms) + 1);
    doorbell_.consume();
}

}  // namespace cw::agent
