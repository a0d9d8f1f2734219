#include "egress/upload/open_stage.h"

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "egress/upload/chain_mend.h"
#include "egress/upload/disk_decision.h"
#include "egress/upload/ledger.h"
#include "egress/vault/control.h"
#include "egress/vault/names.h"
#include "egress/vault/past_checkpoints.h"

#include <algorithm>

namespace cw::upload {
namespace {

constexpr std::uint32_t time_uncertainty_us = 1'000'000;
// A claim whose outcome stays unknown this often is given up; the machine asks again.
constexpr int claim_attempts = 8;

// The first state of a machine: nothing, in epoch 0, so that its genesis is a takeover of it.
vault::Manifest genesis_of(const MachineId& machine) {
    vault::Manifest first;
    first.machine = machine;
    first.number = 1;
    first.epoch = Epoch{1};
    first.kind = vault::ManifestKind::takeover;
    first.checkpoint = 1;
    return first;
}

vault::Manifest takeover_of(const vault::ChainState& state) {
    vault::Manifest next;
    next.machine = state.newest.machine;
    next.number = state.newest.number + 1;
    next.previous = state.hash;
    next.epoch = Epoch{raw(state.newest.epoch) + 1};
    next.kind = vault::ManifestKind::takeover;
    next.boundary = state.newest.boundary;
    next.checkpoint = state.newest.checkpoint;
    next.machine_name = state.newest.machine_name;
    next.disks = state.newest.disks;
    return next;
}

void add_new_disks(vault::Manifest& manifest, const OpenTask& task) {
    ListedDisks listed(manifest, task.cached);
    for (const pipeline::DiskHello& hello : task.disks) {
        const auto known = std::ranges::find(manifest.disks, hello.disk, &vault::DiskEntry::disk);
        const pipeline::DiskWelcome welcome =
            decide_disk(hello, {.no_room = listed.no_room_for(hello.disk)});
        const bool kept = welcome.action != pipeline::DiskAction::reject &&
                          welcome.generation == hello.generation;
        // Only unused histories: another one may be replaced by the answer to this very HELLO.
        if (known == manifest.disks.end() && kept && raw(hello.next_seq) == 1) {
            vault::DiskEntry entry;
            entry.disk = hello.disk;
            entry.name = hello.name;
            entry.size_bytes = hello.size_bytes;
            entry.generation = hello.generation;
            manifest.disks.push_back(std::move(entry));
            listed.add(hello.disk);
        }
    }
}

}  // namespace

pipeline::Progress OpenStage::step(std::size_t budget) {
    context_.outcomes.flush();
    bool worked = context_.store->poll() > 0;
    for (std::size_t i = 0; i < budget; ++i) {
        OpenTask task;
        if (!context_.tasks.receive(task)) {
            break;
        }
        context_.outcomes.send({.machine = task.machine, .claim = open(task)});
        worked = true;
    }
    return worked ? pipeline::Progress::worked : pipeline::Progress::starved;
}

Result<ChainClaim> OpenStage::open(const OpenTask& task) {
    // Keys are made at a machine's first contact only: not for what a cache remembers of it, nor
    // for one of which somebody has seen a commit.
    const std::uint64_t seen =
        std::ranges::max(task.witnesses, {}, &vault::ChainWitness::number).number;
    const bool first_contact = !task.only_if_ours && !task.only_look && seen == 0;
    auto opened =
        vault::open_machine_keys(*context_.store, context_.kek, context_.vault, task.machine,
                                 first_contact ? &context_.random : nullptr);
    if (!opened && opened.error().code == Errc::blob_not_found && seen > 0) {
        return fail(Errc::vault_rolled_back, "the vault knows nothing of machine " +
                                                 to_string(task.machine) + ", but manifest " +
                                                 std::to_string(seen) + " was committed");
    }
    const Result<ChainClaim> could_be = fail(Errc::cancelled, "only looked for");
    if (task.only_look && !opened && opened.error().code == Errc::blob_not_found) {
        // It is new here. Whoever makes it needs the other containers, too.
        CW_TRY(blob::list_all(*context_.store, blob::Container::manifest,
                              vault::manifest_prefix(task.machine)));
        CW_TRY(vault::read_head(*context_.store, context_.vault, task.machine));
        return could_be;
    }
    if (!opened) {
        return std::unexpected(std::move(opened).error());
    }
    auto keys = std::make_shared<vault::MachineKeys>(std::move(*opened));
    CW_TRY_ASSIGN(auto state,
                  vault::read_chain(*context_.store, context_.vault, *keys, task.witnesses));
    if (task.only_if_ours) {
        if (!state) {
            return fail(Errc::fenced, "the vault has no chain of the machine any more");
        }
        CW_TRY(check_ours(*state));
    }
    if (state) {
        CW_TRY(check_control(*state, task.only_look));
        const std::uint64_t limit = context_.memory_max;
        if (limit > 0 && Ledger::memory_bytes(*state) > limit) {
            return fail(Errc::out_of_budget,
                        std::to_string(state->segments.size()) +
                            " segments are alive: raise pipeline.memory to open this machine");
        }
    }
    return task.only_look ? could_be : claim(task, std::move(keys), std::move(state));
}

Result<void> OpenStage::check_ours(const vault::ChainState& state) {
    CW_TRY_ASSIGN(
        const blob::GetResult newest,
        blob::get_and_wait(*context_.store,
                           {.name = vault::manifest_blob(state.newest.machine, state.newest.number),
                            .offset = 0,
                            .length = 0,
                            .if_match = {}}));
    CW_TRY_ASSIGN(const vault::ManifestHeader header,
                  vault::check_manifest(newest.bytes, context_.vault));
    if (header.certificate.server != context_.signer.certificate.server) {
        return fail(Errc::fenced, "server " + to_string(header.certificate.server) +
                                      " has written the newest manifest");
    }
    return {};
}

Result<void> OpenStage::check_control(const vault::ChainState& state, bool only_look) {
    const MachineId& machine = state.newest.machine;
    auto head = vault::read_head(*context_.store, context_.vault, machine);
    if (!head) {
        if (head.error().code == Errc::vault_missing) {
            return fail(Errc::control_lost, head.error().detail);
        }
        if (head.error().code == Errc::object_corrupt) {
            return {};  // It exists; what it says is only a hint.
        }
        return std::unexpected(std::move(head).error());
    }
    if (*head) {
        return {};
    }
    // The head is written before the second manifest ever is: see claim().
    if (state.newest.number > 1) {
        return fail(Errc::control_lost,
                    "machine " + to_string(machine) + " has manifests but no head note");
    }
    if (only_look) {
        return {};
    }
    return vault::advance_head(*context_.store, context_.vault, machine,
                               {.number = state.newest.number,
                                .hash = state.hash,
                                .epoch = state.newest.epoch,
                                .writer = state.newest.writer,
                                .server = {}},
                               context_.signer);
}

Result<ChainClaim> OpenStage::claim(const OpenTask& task, std::shared_ptr<vault::MachineKeys> keys,
                                    std::optional<vault::ChainState> state) {
    vault::Manifest manifest = state ? takeover_of(*state) : genesis_of(task.machine);
    if (!task.name.empty()) {
        manifest.machine_name = task.name;
    }
    ChainMend mend(*context_.store, context_.vault, *keys, context_.random);
    if (state) {
        CW_TRY(mend.run(*state, manifest));
    }
    add_new_disks(manifest, task);
    if (!state) {
        manifest.deks.push_back(vault::make_dek(*keys, context_.vault, context_.random));
    }
    context_.random.fill(manifest.writer);
    context_.random.fill(manifest.nonce);
    manifest.time = context_.clock.wall();
    manifest.time_uncertainty_us = time_uncertainty_us;
    if (state) {
        CW_TRY(vault::check_follows(*state, manifest));
    }
    const vault::SealedManifest sealed =
        vault::seal_manifest(manifest, context_.vault, *keys, context_.signer, context_.random);
    if (state) {
        CW_TRY(vault::apply_manifest(*state, manifest, sealed.hash));
    } else {
        CW_TRY_ASSIGN(state, vault::begin_chain(manifest, sealed.hash));
    }
    const blob::BlobName name = vault::manifest_blob(task.machine, manifest.number);
    CW_CRASH_POINT("upload.before_claim");
    CW_TRY(create(name, sealed, manifest.nonce));
    CW_CRASH_POINT("upload.after_claim");
    CW_TRY_ASSIGN(const auto marks,
                  vault::read_gc_boundary(*context_.store, context_.vault, task.machine));
    if (marks && marks->boundary > manifest.number) {
        return fail(Errc::fenced, "garbage collection had already removed manifest " +
                                      std::to_string(manifest.number));
    }
    if (marks) {
        CW_TRY(ChainMend::confirm(manifest, *marks));
    }
    const Result<void> head = vault::advance_head(*context_.store, context_.vault, task.machine,
                                                  {.number = manifest.number,
                                                   .hash = sealed.hash,
                                                   .epoch = manifest.epoch,
                                                   .writer = manifest.writer,
                                                   .server = {}},
                                                  context_.signer);
    if (manifest.number == 1) {
        CW_TRY(head);  // From the second manifest on its absence means that control was lost.
    }
    log_info("upload.chain.claimed",
             {{"machine", task.machine}, {"number", manifest.number}, {"epoch", manifest.epoch}});
    auto checkpoints =
        vault::past_checkpoints(*context_.store, context_.vault, *keys, *state,
                                std::max<std::size_t>(context_.checkpoints_kept, 1) - 1);
    return ChainClaim{
        .keys = std::move(keys), .state = std::move(*state), .checkpoints = std::move(checkpoints)};
}

Result<void> OpenStage::create(const blob::BlobName& name, const vault::SealedManifest& sealed,
                               const vault::ManifestNonce& nonce) {
    Error last{Errc::blob_unavailable, "no answer"};
    for (int attempt = 0; attempt < claim_attempts; ++attempt) {
        const blob::PutResult put =
            blob::put_and_wait(*context_.store, {.name = name,
                                                 .body = {sealed.bytes},
                                                 .metadata = {{"nonce", to_hex(nonce)}},
                                                 .condition = blob::PutCondition::if_absent,
                                                 .etag = {}});
        if (put.outcome == blob::PutOutcome::stored) {
            return {};
        }
        last = put.error.value_or(last);
        const bool decided = put.outcome == blob::PutOutcome::refused;
        if (decided && last.code != Errc::blob_conflict) {
            return std::unexpected(std::move(last));
        }
        const Result<bool> ours = is_ours(name, sealed.hash);
        if (ours && *ours) {
            return {};
        }
        if (ours) {
            return fail(Errc::fenced, to_string(name) + " was written by another server");
        }
        last = ours.error();  // Absent or unreadable: the same bytes are offered again.
    }
    return fail(Errc::blob_unavailable, "the claim is still unknown: " + to_string(last));
}

// Errors: blob_not_found, and those of get.
Result<bool> OpenStage::is_ours(const blob::BlobName& name, const Sha256& hash) {
    CW_TRY_ASSIGN(const blob::GetResult found,
                  blob::get_and_wait(*context_.store,
                                     {.name = name, .offset = 0, .length = 0, .if_match = {}}));
    return sha256(found.bytes) == hash;
}

}  // namespace cw::upload
