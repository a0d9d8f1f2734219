// The index runs of a draft: stored before the manifest that names them.
#include "base/crash_point.h"
#include "egress/upload/chain_writer.h"
#include "egress/vault/names.h"

namespace cw::upload {

// A run's ref belongs to the manifest, so it is finished before that is. One is in memory at a
// time.
void ChainWriter::next_run() {
    const vault::Manifest& manifest = *draft_->manifest;
    const auto left = static_cast<std::uint32_t>(draft_->runs.size() - runs_stored_);
    vault::IndexRunRef ref;
    ref.id = manifest.run_counter - left + 1;
    ref.epoch = manifest.epoch;
    run_ = vault::seal_index_run(draft_->runs[runs_stored_], ref, *keys_, context_.random);
    phase_ = Phase::runs;
}

void ChainWriter::put_run(blob::BlobStore& store) {
    CW_CRASH_POINT("upload.before_run_put");
    busy_ = true;
    store.put({.name = segment_blob(index_run_name(draft_->manifest->machine, run_->ref)),
               .body = {run_->bytes},
               .metadata = {},
               .condition = blob::PutCondition::if_absent,
               .etag = {}},
              [this](const blob::PutResult& result) { run_put(result); });
}

void ChainWriter::run_put(const blob::PutResult& result) {
    busy_ = false;
    if (result.outcome == blob::PutOutcome::stored) {
        run_stored();
        return;
    }
    const Error error = result.error.value_or(Error{Errc::blob_unavailable, "no answer"});
    if (result.outcome == blob::PutOutcome::unknown || error.code == Errc::blob_conflict) {
        phase_ = Phase::run_back;
    } else {
        pause(Phase::runs, error);
    }
}

void ChainWriter::read_run_back(blob::BlobStore& store) {
    busy_ = true;
    store.get({.name = segment_blob(index_run_name(draft_->manifest->machine, run_->ref)),
               .offset = 0,
               .length = 0,
               .if_match = {}},
              [this](const Result<blob::GetResult>& found) {
                  busy_ = false;
                  run_seen(found);
              });
}

void ChainWriter::run_seen(const Result<blob::GetResult>& found) {
    if (!found) {
        const bool absent = found.error().code == Errc::blob_not_found;
        pause(absent ? Phase::runs : Phase::run_back, found.error());
    } else if (sha256(found->bytes) == run_->ref.hash) {
        run_stored();
    } else {
        // What is there stays there, since nothing is overwritten: the next attempt has a name of
        // its own, as a segment's has, and this one becomes garbage that nobody has named.
        next_run();
        pause(Phase::runs, {Errc::object_corrupt, "an index run was changed in the store"});
    }
}

void ChainWriter::run_stored() {
    CW_CRASH_POINT("upload.after_run_put");
    succeed();
    draft_->manifest->runs.push_back(std::move(run_->ref));
    run_.reset();
    if (++runs_stored_ < draft_->runs.size()) {
        next_run();
        return;
    }
    seal();
}

}  // namespace cw::upload
