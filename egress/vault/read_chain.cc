// Reading a machine's manifests to the end of the chain.
#include "base/assert.h"
#include "base/log.h"
#include "egress/vault/control.h"
#include "egress/vault/index_run.h"
#include "egress/vault/names.h"
#include "egress/vault/object_fetch.h"

#include <algorithm>
#include <set>

namespace cw::vault {
namespace {

using blob::BlobStore;
using blob::Container;

constexpr std::size_t runs_ahead_max = 4;  // Of at most index_run_bytes_max each.

// True if `error` says that what was written is not there as it was written. What cannot be reached
// or asked for now is not lost.
bool means_loss(const Error& error) {
    return error.code == Errc::object_corrupt || error.code == Errc::blob_not_found;
}

class ChainReader {
public:
    ChainReader(BlobStore& store, const VaultIdentity& vault, MachineKeys& keys, bool accept_stale)
        : store_(store), vault_(vault), keys_(keys), accept_stale_(accept_stale) {}

    Result<std::optional<ChainState>> read(std::span<const ChainWitness> witnesses) {
        CW_TRY_ASSIGN(const std::uint64_t end, find_end());
        // Before anything is read of it: a chain that was taken back to an older state names what
        // was collected since, and to miss that object is not what has happened to it.
        for (const ChainWitness& witness : witnesses) {
            CW_TRY(check_witness(witness, end));
        }
        if (end == 0) {
            return std::nullopt;
        }
        CW_TRY(check_witness(head_, end));
        CW_TRY_ASSIGN(ChainState state, accept_stale_ ? fold_longest(end) : fold_to(end));
        for (const auto& [version, dek] : state.deks) {
            CW_TRY(unwrap_dek(keys_, vault_, dek));
        }
        return state;
    }

    Result<ChainState> read_at(std::uint64_t number) {
        CW_ASSERT(number > 0);
        CW_TRY(fetch_manifests(number, number));
        return fold_to(number);
    }

private:
    std::unexpected<Error> rolled_back(const std::string& why) const {
        return fail(Errc::vault_rolled_back, "machine " + to_string(keys_.machine) + ": " + why);
    }

    // A note that is gone or cannot be believed counts as absent: notes are hints. One that cannot
    // be read now does not: it may lead beyond a collected beginning.
    template <typename Note>
    static Result<std::optional<Note>> hint(const char* what, Result<std::optional<Note>> note) {
        if (note || action_of(note.error().code) != Action::stop) {
            return note;
        }
        log_warning("vault.note.ignored", {{"note", what}, {"error", note.error()}});
        return std::optional<Note>{};
    }

    Result<std::uint64_t> highest_listed(bool needed) {
        const auto entries =
            blob::list_all(store_, Container::manifest, manifest_prefix(keys_.machine));
        if (!entries) {
            if (!needed && action_of(entries.error().code) == Action::stop) {
                return 0;  // A reader without the right to list follows the notes.
            }
            return std::unexpected(entries.error());
        }
        std::uint64_t highest = 0;
        for (const auto& entry : *entries) {
            if (const auto number = parse_manifest_number({Container::manifest, entry.name})) {
                highest = std::max(highest, *number);
            }
        }
        return highest;
    }

    Result<void> fetch_manifests(std::uint64_t from, std::uint64_t to) {
        const auto name = [this](std::uint64_t n) { return manifest_blob(keys_.machine, n); };
        return ObjectFetch(store_, name, objects_).run(from, to);
    }

    // Reads the runs of `checkpoint` one after the other, a few ahead.
    RunSource runs_of(const Manifest& checkpoint) {
        return [this, &checkpoint, objects = std::map<std::uint64_t, ByteVector>{}](
                   std::size_t index) mutable -> Result<IndexRun> {
            const auto name = [&](std::uint64_t i) {
                return segment_blob(index_run_name(keys_.machine, checkpoint.runs[i]));
            };
            if (!objects.contains(index)) {
                const std::size_t end = std::min(index + runs_ahead_max, checkpoint.runs.size());
                CW_TRY(ObjectFetch(store_, name, objects).run(index, end - 1));
            }
            auto run = open_index_run(objects.at(index), checkpoint.runs[index], keys_);
            objects.erase(index);
            if (!run) {
                return about(name(index), std::move(run).error());
            }
            return run;
        };
    }

    // False if it does not exist.
    Result<bool> fetch(std::uint64_t number) {
        auto got = fetch_manifests(number, number);
        if (!got && got.error().code == Errc::blob_not_found) {
            return false;
        }
        CW_TRY(got);
        return true;
    }

    // The end is the first absent number above everything known to exist. 0: no chain.
    Result<std::uint64_t> find_end() {
        CW_TRY_ASSIGN(const auto head, hint("head", read_head(store_, vault_, keys_.machine)));
        CW_TRY_ASSIGN(const auto boundary,
                      hint("gc", read_gc_boundary(store_, vault_, keys_.machine)));
        if (head && !accept_stale_) {
            head_ = {head->number, head->hash};
        }
        const std::uint64_t noted =
            std::max(head ? head->number : 0, boundary ? boundary->boundary : 0);
        CW_TRY_ASSIGN(const std::uint64_t listed, highest_listed(noted == 0));
        std::uint64_t end = std::max(noted, listed);
        if (end > 0) {
            CW_TRY_ASSIGN(bool present, fetch(end));
            if (!present && accept_stale_ && listed > 0) {
                end = listed;
                CW_TRY_ASSIGN(present, fetch(end));
            }
            if (!present) {
                return rolled_back("manifest " + std::to_string(end) +
                                   " was committed and is gone");
            }
        }
        while (true) {
            CW_TRY_ASSIGN(const bool present, fetch(end + 1));
            if (!present) {
                return end;
            }
            ++end;
        }
    }

    Result<Manifest> open(std::uint64_t number) {
        auto manifest = open_manifest(objects_.at(number), vault_, keys_);
        if (manifest && manifest->number != number) {
            manifest =
                fail(Errc::object_corrupt, "holds manifest " + std::to_string(manifest->number));
        }
        if (!manifest) {
            return about(manifest_blob(keys_.machine, number), std::move(manifest).error());
        }
        return manifest;
    }

    // The beginning of what manifest `end` must be read from: the newest checkpoint.
    Result<std::uint64_t> first_for(std::uint64_t end) {
        CW_TRY_ASSIGN(const Manifest newest, open(end));
        const std::uint64_t first = std::max<std::uint64_t>(newest.checkpoint, 1);
        if (first > end) {
            return about(manifest_blob(keys_.machine, end),
                         {Errc::object_corrupt, "names a checkpoint that comes after it"});
        }
        return first;
    }

    Result<ChainState> fold_to(std::uint64_t end) {
        CW_TRY_ASSIGN(const std::uint64_t first, first_for(end));
        CW_TRY(fetch_manifests(first, end));
        return fold(first, end);
    }

    // The state after the last manifest that can be proven: one that is damaged or missing takes
    // with it what was committed after it, and nothing before.
    Result<ChainState> fold_longest(std::uint64_t end) {
        std::optional<Error> newest_loss;
        for (std::uint64_t last = end; last > 0; last = broken_at_ - 1) {
            broken_at_ = last;
            auto state = fold_present(last);
            if (state || !means_loss(state.error())) {
                return state;
            }
            CW_ASSERT(broken_at_ > 0 && broken_at_ <= last);
            if (!newest_loss) {
                newest_loss = std::move(state).error();
            }
        }
        return std::unexpected(*newest_loss);
    }

    // As fold_to(), but goes on fetching behind a hole.
    Result<ChainState> fold_present(std::uint64_t end) {
        CW_TRY_ASSIGN(const bool newest_present, fetch(end));
        if (!newest_present) {
            return missing(end);
        }
        CW_TRY_ASSIGN(const std::uint64_t first, first_for(end));
        if (const auto all = fetch_manifests(first, end); !all && !means_loss(all.error())) {
            return std::unexpected(all.error());
        }
        for (std::uint64_t number = first; number < end; ++number) {
            CW_TRY_ASSIGN(const bool present, fetch(number));
            if (!present) {
                broken_at_ = number;
                return missing(number);
            }
        }
        return fold(first, end);
    }

    std::unexpected<Error> missing(std::uint64_t number) const {
        return about(manifest_blob(keys_.machine, number), {Errc::blob_not_found, ""});
    }

    Result<ChainState> fold(std::uint64_t first, std::uint64_t end) {
        broken_at_ = first;
        CW_TRY_ASSIGN(const Manifest start, open(first));
        CW_TRY_ASSIGN(ChainState state,
                      begin_chain(start, sha256(objects_.at(first)), runs_of(start)));
        for (std::uint64_t number = first + 1; number <= end; ++number) {
            broken_at_ = number;
            CW_TRY_ASSIGN(const Manifest next, open(number));
            CW_TRY(apply_manifest(state, next, sha256(objects_.at(number))));
        }
        return state;
    }

    // Old manifests of a long chain may be gone by right: then nothing can be said of the witness.
    Result<void> check_witness(const ChainWitness& witness, std::uint64_t end) {
        if (witness.number == 0) {
            return {};
        }
        if (witness.number > end) {
            return rolled_back("it ends at manifest " + std::to_string(end) + ", but " +
                               std::to_string(witness.number) + " was committed");
        }
        CW_TRY_ASSIGN(const bool present, fetch(witness.number));
        if (present && sha256(objects_.at(witness.number)) != witness.hash) {
            CW_TRY(open(witness.number));  // Or it is damaged, and that is to be told.
            return rolled_back("manifest " + std::to_string(witness.number) +
                               " is not the one that was committed");
        }
        return {};
    }

    BlobStore& store_;
    const VaultIdentity& vault_;
    MachineKeys& keys_;
    bool accept_stale_;
    ChainWitness head_;            // What the head note saw committed; nothing with accept_stale_.
    std::uint64_t broken_at_ = 0;  // The manifest at which folding stands or failed.
    std::map<std::uint64_t, ByteVector> objects_;  // Fetched so far, by number.
};

}  // namespace

Result<std::optional<ChainState>> read_chain(BlobStore& store, const VaultIdentity& vault,
                                             MachineKeys& keys,
                                             std::span<const ChainWitness> witnesses) {
    return ChainReader(store, vault, keys, false).read(witnesses);
}

Result<ChainState> read_chain_at(BlobStore& store, const VaultIdentity& vault, MachineKeys& keys,
                                 std::uint64_t number) {
    return ChainReader(store, vault, keys, false).read_at(number);
}

Result<std::optional<ChainState>> read_chain_accepting_stale(BlobStore& store,
                                                             const VaultIdentity& vault,
                                                             MachineKeys& keys) {
    return ChainReader(store, vault, keys, true).read({});
}

Result<std::vector<MachineId>> list_machines(BlobStore& store) {
    // One key object and one head note per machine: far shorter lists than that of all manifests.
    std::set<MachineId> candidates;
    for (const Container container : {Container::keys, Container::control}) {
        const auto entries = blob::list_all(store, container, "");
        if (!entries) {
            if (container == Container::control) {
                continue;  // It may be missing; nothing in it is needed to read.
            }
            return std::unexpected(entries.error());
        }
        for (const auto& entry : *entries) {
            if (const auto id = parse_id<MachineId>(entry.name.substr(0, entry.name.find('/')))) {
                candidates.insert(*id);
            }
        }
    }
    std::vector<MachineId> machines;
    for (const MachineId& machine : candidates) {
        const auto genesis = blob::head_and_wait(store, manifest_blob(machine, 1));
        if (genesis) {
            machines.push_back(machine);
        } else if (genesis.error().code != Errc::blob_not_found) {
            return std::unexpected(genesis.error());
        }
    }
    return machines;
}

}  // namespace cw::vault
