#include "egress/upload/chain_mend.h"

#include "base/log.h"
#include "egress/vault/names.h"

#include <algorithm>

namespace cw::upload {
namespace {

using vault::ChainState;
using vault::SegmentName;
using vault::SegmentRef;

Result<blob::GetResult> fetch_whole(blob::BlobStore& store, const blob::BlobName& name) {
    auto found =
        blob::get_and_wait(store, {.name = name, .offset = 0, .length = 0, .if_match = {}});
    if (!found && found.error().code == Errc::blob_not_found) {
        return fail(Errc::blob_unavailable, to_string(name) + " has just been collected");
    }
    return found;
}

}  // namespace

Result<void> ChainMend::run(const ChainState& state, vault::Manifest& takeover) {
    // Read after the end of the chain was: what is announced later is found named, and kept.
    CW_TRY_ASSIGN(const auto marks, vault::read_gc_boundary(store_, vault_, keys_.machine));
    if (!marks) {
        return {};
    }
    CW_TRY_ASSIGN(announced_, find_announced(store_, state, *marks));
    std::set<SegmentName> there = announced_.there;
    if (!announced_.gone.empty()) {
        CW_TRY_ASSIGN(const auto told, told_state(store_, vault_, keys_, state, announced_));
        if (told) {
            CW_TRY(take_back(state, *told, takeover));
            std::erase_if(
                there, [&told](const SegmentName& name) { return !told->segments.contains(name); });
        } else {
            log_error("upload.segments.missing", {{"machine", keys_.machine},
                                                  {"segments", announced_.gone.size()},
                                                  {"next", "causeway verify"}});
        }
    }
    for (const SegmentName& name : there) {
        CW_TRY_ASSIGN(SegmentRef copy, store_again(state.segments.at(name)));
        takeover.dropped.push_back(name);
        takeover.added.push_back(std::move(copy));
    }
    return {};
}

Result<void> ChainMend::confirm(const vault::Manifest& takeover, const vault::GcBoundary& marks) {
    const std::set<vault::AttemptId> announced(marks.sweep.begin(), marks.sweep.end());
    const bool slept = std::ranges::any_of(takeover.added, [&announced](const SegmentRef& ref) {
        return announced.contains(ref.name.attempt);
    });
    if (slept) {
        return fail(Errc::blob_unavailable,
                    "what was stored for the takeover has been collected before it was named");
    }
    return {};
}

Result<void> ChainMend::take_back(const ChainState& state, const ChainState& told,
                                  vault::Manifest& takeover) {
    takeover.disks = told.newest.disks;
    for (const auto& [name, ref] : state.segments) {
        if (!told.segments.contains(name)) {
            takeover.dropped.push_back(name);
        }
    }
    for (const auto& [id, point] : state.points) {
        if (!told.points.contains(id)) {
            takeover.pruned.push_back(id);
        }
    }
    // What retention let go in the same manifests may have been replaced by what is gone. Its
    // points stay pruned.
    for (const auto& [name, ref] : told.segments) {
        if (state.segments.contains(name)) {
            continue;
        }
        CW_TRY_ASSIGN(const bool found, is_there(name));
        if (found && announced_.attempts.contains(name.attempt)) {
            CW_TRY_ASSIGN(SegmentRef copy, store_again(ref));
            takeover.added.push_back(std::move(copy));
        } else if (found) {
            takeover.added.push_back(ref);
            takeover.added.back().place = {};
        }
    }
    log_warning("upload.manifests.taken_back", {{"machine", keys_.machine},
                                                {"after", told.newest.number},
                                                {"through", state.newest.number},
                                                {"segments", takeover.dropped.size()},
                                                {"points", takeover.pruned.size()}});
    return {};
}

Result<bool> ChainMend::is_there(const SegmentName& name) {
    const auto found = blob::head_and_wait(store_, segment_blob(name));
    if (!found && found.error().code != Errc::blob_not_found) {
        return std::unexpected(found.error());
    }
    return found.has_value();
}

// The attempt is no part of what is sealed: the bytes are the same.
Result<SegmentRef> ChainMend::store_again(const SegmentRef& ref) {
    CW_TRY_ASSIGN(const blob::GetResult object, fetch_whole(store_, segment_blob(ref.name)));
    SegmentRef copy = ref;
    copy.place = {};
    random_.fill(copy.name.attempt);
    const blob::PutResult put =
        blob::put_and_wait(store_, {.name = segment_blob(copy.name),
                                    .body = {object.bytes},
                                    .metadata = {},
                                    .condition = blob::PutCondition::if_absent,
                                    .etag = {}});
    if (put.outcome != blob::PutOutcome::stored) {
        return std::unexpected(put.error.value_or(Error{Errc::blob_unavailable, "no answer"}));
    }
    return copy;
}

}  // namespace cw::upload
