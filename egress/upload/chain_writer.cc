#include "egress/upload/chain_writer.h"

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "egress/upload/pause.h"
#include "egress/vault/names.h"

#include <algorithm>

namespace cw::upload {
namespace {

constexpr std::uint32_t time_uncertainty_us = 1'000'000;

}  // namespace

ChainWriter::ChainWriter(const Context& context, ChainClaim claim)
    : context_(context),
      keys_(std::move(claim.keys)),
      ledger_(std::move(claim.state), claim.checkpoints, context.options, context.clock.boot()),
      head_(context.vault, context.signer, context.conditions, ledger_.state().newest.number),
      looked_(context.clock.boot()) {}

bool ChainWriter::step(blob::BlobStore& store) {
    if (busy_) {
        return false;
    }
    if (given_back_) {
        give_back(*std::exchange(given_back_, std::nullopt));
        return true;
    }
    if (context_.clock.boot() < not_before_) {
        return false;
    }
    switch (phase_) {
        case Phase::idle:
            if (stopped_) {
                return false;
            }
            [[fallthrough]];
        case Phase::correcting: {  // What was begun is finished, stopped or not.
            const Nanos now = context_.clock.boot();
            if (phase_ == Phase::idle) {
                head_.step(store, ledger_.state(), now);
            }
            // Before a draft: one that is never accepted must not keep this from being noticed.
            if (now >= look_due()) {
                look(store);
                return true;
            }
            for (const StepId step : ledger_.aged(now)) {
                context_.host.store_again(ledger_.state().newest.machine, step);
            }
            if (auto draft = ledger_.draft(now)) {
                begin(std::move(*draft));
                return true;
            }
            if (phase_ == Phase::idle && look_asked_) {
                look(store);
                return true;
            }
            return false;
        }
        case Phase::runs:
            put_run(store);
            return true;
        case Phase::run_back:
            read_run_back(store);
            return true;
        case Phase::create:
            create(store);
            return true;
        case Phase::read_back:
            read_back(store);
            return true;
        case Phase::check_gc:
            check_gc(store);
            return true;
    }
    return false;
}

void ChainWriter::begin(Draft draft) {
    draft_ = std::move(draft);
    runs_stored_ = 0;
    if (!draft_->manifest) {
        CW_ASSERT(phase_ == Phase::idle);
        ledger_.fold(*draft_, {});
        settle();
        return;
    }
    if (draft_->runs.empty()) {
        seal();
    } else {
        next_run();
    }
}

void ChainWriter::seal() {
    vault::Manifest& manifest = *draft_->manifest;
    context_.random.fill(manifest.nonce);
    manifest.time = context_.clock.wall();
    manifest.time_uncertainty_us = time_uncertainty_us;
    const vault::ChainState& state = ledger_.state();
    if (const auto follows = vault::check_follows(state, manifest, draft_->runs); !follows) {
        // A mistake of ours, which no reader may meet and no other machine pay for.
        const MachineId machine = manifest.machine;
        end();
        context_.host.gave_up(machine, {Errc::internal, follows.error().detail});
        return;
    }
    if (vault::manifest_object_bytes(manifest) > vault::manifest_bytes_max) {
        // Nothing is lost: the cache holds it, and pruning makes room.
        const std::string size = std::to_string(vault::manifest_object_bytes(manifest));
        draft_.reset();
        pause(corrected_ ? Phase::correcting : Phase::idle,
              {Errc::out_of_budget,
               "the next manifest would have " + size + " bytes: protect fewer disks per machine"});
        return;
    }
    sealed_ =
        vault::seal_manifest(manifest, context_.vault, *keys_, context_.signer, context_.random);
    phase_ = Phase::create;
}

void ChainWriter::create(blob::BlobStore& store) {
    CW_CRASH_POINT("upload.before_manifest_create");
    const vault::Manifest& manifest = *draft_->manifest;
    busy_ = true;
    store.put({.name = vault::manifest_blob(manifest.machine, manifest.number),
               .body = {sealed_.bytes},
               .metadata = {{"nonce", to_hex(manifest.nonce)}},
               .condition = blob::PutCondition::if_absent,
               .etag = {}},
              [this](const blob::PutResult& result) { created(result); });
}

void ChainWriter::created(const blob::PutResult& result) {
    busy_ = false;
    if (result.outcome == blob::PutOutcome::stored) {
        CW_CRASH_POINT("upload.after_manifest_create");
        succeed();
        phase_ = Phase::check_gc;
        return;
    }
    const Error error = result.error.value_or(Error{Errc::blob_unavailable, "no answer"});
    // What the store says to have made of it is looked at, too, before anybody builds on it.
    if (result.outcome == blob::PutOutcome::unknown || error.code == Errc::blob_conflict ||
        error.code == Errc::object_corrupt) {
        phase_ = Phase::read_back;
        return;
    }
    pause(Phase::create, error);
}

void ChainWriter::read_back(blob::BlobStore& store) {
    const vault::Manifest& manifest = *draft_->manifest;
    busy_ = true;
    store.get({.name = vault::manifest_blob(manifest.machine, manifest.number),
               .offset = 0,
               .length = 0,
               .if_match = {}},
              [this](Result<blob::GetResult> found) {
                  busy_ = false;
                  seen(found);
              });
}

void ChainWriter::seen(const Result<blob::GetResult>& found) {
    if (!found) {
        // Absent: the request may still be on its way, so the very same bytes are offered again.
        const bool absent = found.error().code == Errc::blob_not_found;
        pause(absent ? Phase::create : Phase::read_back, found.error());
        return;
    }
    if (sha256(found->bytes) == sealed_.hash) {
        CW_CRASH_POINT("upload.after_manifest_found");
        succeed();
        phase_ = Phase::check_gc;
        return;
    }
    const auto header = vault::check_manifest(found->bytes, context_.vault);
    if (!header) {
        // Neither ours nor a manifest: damaged in transit or in the store. It stays unknown.
        pause(Phase::read_back, header.error());
        return;
    }
    fence_by(*header);
}

void ChainWriter::check_gc(blob::BlobStore& store) {
    busy_ = true;
    store.get({.name = vault::gc_boundary_blob(ledger_.state().newest.machine),
               .offset = 0,
               .length = 0,
               .if_match = {}},
              [this](Result<blob::GetResult> found) {
                  busy_ = false;
                  gc_read(found);
              });
}

void ChainWriter::gc_read(const Result<blob::GetResult>& found) {
    if (!found) {
        if (found.error().code == Errc::blob_not_found) {
            judge_gc({});
        } else {
            pause(Phase::check_gc, found.error());
        }
        return;
    }
    const auto marks =
        vault::decode_gc_boundary(found->bytes, context_.vault, ledger_.state().newest.machine);
    if (!marks) {
        pause(Phase::check_gc, marks.error());
        return;
    }
    judge_gc(*marks);
}

void ChainWriter::judge_gc(const vault::GcBoundary& marks) {
    succeed();
    if (marks.boundary > draft_->manifest->number) {
        fence("garbage collection had already removed manifest " +
              std::to_string(draft_->manifest->number));
        return;
    }
    accept();
    if (!marks.sweep.empty()) {
        const std::set<vault::AttemptId> swept(marks.sweep.begin(), marks.sweep.end());
        const std::vector<StepId> again = ledger_.replace(*draft_, swept);
        if (names_others_of(swept, again.size())) {
            give_back("segments that compaction made were collected before manifest " +
                      std::to_string(ledger_.state().newest.number) + " named them");
            return;
        }
        if (!again.empty()) {
            if (!corrected_) {
                corrected_ = std::move(draft_);
            }
            draft_.reset();
            phase_ = Phase::correcting;
            for (const StepId step : again) {
                context_.host.store_again(ledger_.state().newest.machine, step);
            }
            return;
        }
    }
    if (corrected_) {
        draft_ = std::move(corrected_);
        corrected_.reset();
    }
    settle();
}

// Whether the draft names swept segments besides the `steps` that can be stored again from the
// cache. (A checkpoint repeats what was named before, and is not told of anything.)
bool ChainWriter::names_others_of(const std::set<vault::AttemptId>& swept,
                                  std::size_t steps) const {
    return draft_->manifest->kind == vault::ManifestKind::regular &&
           std::ranges::count_if(draft_->manifest->added, [&swept](const vault::SegmentRef& ref) {
               return swept.contains(ref.name.attempt);
           }) > static_cast<std::ptrdiff_t>(steps);
}

void ChainWriter::accept() {
    ledger_.fold(*draft_, sealed_.hash);
    look_asked_ = false;  // Nobody else had the number.
    looked_ = context_.clock.boot();
}

void ChainWriter::settle() {
    CW_CRASH_POINT("upload.before_committed");
    phase_ = Phase::idle;
    const Draft draft = std::move(*draft_);
    draft_.reset();
    ledger_.settle(draft, context_.clock.boot());
    const vault::ChainState& state = ledger_.state();
    context_.host.settled(state.newest.machine, draft, state.newest.number, state.hash);
}

// Whether another server has gone on. Nothing of ours is on its way, so the next number cannot be
// ours.
void ChainWriter::look(blob::BlobStore& store) {
    const vault::Manifest& newest = ledger_.state().newest;
    look_asked_ = false;
    looked_ = context_.clock.boot();
    busy_ = true;
    store.get({.name = vault::manifest_blob(newest.machine, newest.number + 1),
               .offset = 0,
               .length = 0,
               .if_match = {}},
              [this](const Result<blob::GetResult>& found) {
                  busy_ = false;
                  const auto header = found ? vault::check_manifest(found->bytes, context_.vault)
                                            : std::unexpected(found.error());
                  if (header) {  // What cannot be read is met again when there is news to publish.
                      fence_by(*header);
                  }
              });
}

// What waits here fills the cache of all machines, so whose it is should be known.
Nanos ChainWriter::look_due() const {
    const EngineOptions& options = context_.options;
    const bool waits = waits_ || !ledger_.empty();
    return looked_ + (waits ? std::min(options.waiting_check_ns, options.ownership_check_ns)
                            : options.ownership_check_ns);
}

void ChainWriter::fence_by(const vault::ManifestHeader& header) {
    fence("manifest " + std::to_string(header.number) + " was written by server " +
          to_string(header.certificate.server) + ", epoch " + std::to_string(raw(header.epoch)));
}

void ChainWriter::give_back(std::string why) {
    if (busy_) {
        given_back_ = std::move(why);
        return;
    }
    fence(std::move(why) + "; the next HELLO opens the machine again and takes it back");
}

void ChainWriter::fence(std::string why) {
    end();
    context_.host.fenced(ledger_.state().newest.machine, {Errc::fenced, std::move(why)});
}

void ChainWriter::end() {
    stopped_ = true;
    phase_ = Phase::idle;
    draft_.reset();
    corrected_.reset();
    run_.reset();
}

void ChainWriter::pause(Phase next, const Error& error) {
    phase_ = next;
    not_before_ =
        context_.clock.boot() + pause_ns(context_.options, failures_, context_.random, error);
    ++failures_;
    context_.host.trouble(ledger_.state().newest.machine, error);
}

void ChainWriter::succeed() {
    if (failures_ > 0) {
        failures_ = 0;
        context_.host.trouble(ledger_.state().newest.machine, std::nullopt);
    }
    not_before_ = Nanos{};
}

Nanos ChainWriter::next_deadline() const {
    if (busy_) {
        return Nanos{INT64_MAX};
    }
    if (given_back_) {
        return Nanos{};
    }
    if (phase_ == Phase::correcting) {
        return look_due();  // A segment that is stored again moves it, and that is told.
    }
    if (phase_ == Phase::idle) {
        if (stopped_) {
            return Nanos{INT64_MAX};
        }
        return std::min({ledger_.next_deadline(), look_due(),
                         head_.next_deadline(ledger_.state().newest.number)});
    }
    return not_before_;
}

}  // namespace cw::upload
