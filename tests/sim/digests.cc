#include "tests/sim/digests.h"

#include "egress/blob/retry_store.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/world.h"

#include <algorithm>
#include <utility>

namespace cw::sim {
namespace {

// Shorter than in production: nobody dies at the top level while somebody waits for the store.
blob::RetryOptions retry_options() {
    blob::RetryOptions options;
    options.pause_first_ns = 20 * ns_per_ms;
    options.give_up_ns = 2 * ns_per_s;
    options.budget.share = 1;
    return options;
}

}  // namespace

Digests::Digests(World& world, Context context)
    : world_(world),
      context_(std::move(context)),
      stores_(make_process_stores(
          blob::make_retry_factory(world.vault.factory(), retry_options(), context_.clock,
                                   *world.random, context_.metrics),
          context_.life, *world.oracles, world.mutant)),
      store_(stores_->make()),
      desk_({.clock = context_.clock,
             .store = *store_,
             .kek = *world.kek,
             .open_fence =
                 [this](const MachineId& machine, const DiskId& disk) {
                     return appliance::open_fence_in(context_.engine.status(), machine, disk);
                 },
             .reply = [this](std::uint32_t, ingest::DigestReply& told) { return reply(told); },
             .stopping = [this] { return context_.life.dead; }}) {}

void Digests::ask(const ingest::DigestRequest& request) {
    world_.event("digests.asked", request.first_block, raw(request.fence));
    world_.trace.count("seen.digests_asked");
    asked_.push_back(request);
    asked_at_.push_back({request, context_.clock.boot()});
}

void Digests::on_opened(const pipeline::MachineOpened& opened) {
    secrets_[opened.machine] = opened.fingerprint_secret;
}

bool Digests::take_asked() {
    const auto asked = std::exchange(asked_, {});
    for (const ingest::DigestRequest& request : asked) {
        std::optional<ingest::DigestReply> wrong;
        if (world_.mutant == Mutant::digest_from_older_state) {
            wrong = older_.answer(request);
        }
        if (!wrong || !reply(*wrong)) {
            desk_.take(request);
        }
    }
    return !asked.empty();
}

// As DigestService::run().
pipeline::Progress Digests::step(std::size_t) {
    const bool taken = take_asked();
    const bool worked = desk_.step() || taken;
    next_look_ = desk_.idle() && asked_.empty()
                     ? Nanos{INT64_MAX}
                     : context_.clock.boot() + appliance::DigestDesk::retry_ns;
    return worked ? pipeline::Progress::worked : pipeline::Progress::starved;
}

bool Digests::reply(ingest::DigestReply& reply) {
    if (!world_.calm() && world_.hit(world_.settings.digests_late)) {
        world_.trace.count("fault.digests_late");
        return false;
    }
    if (world_.mutant == Mutant::unknown_taken_as_equal) {
        take_unknown_as_equal(world_, context_.server, secrets_[reply.machine], reply);
    }
    if (world_.mutant == Mutant::departed_gone_on_with) {
        go_on_with_departed(world_, context_.server, secrets_[reply.machine], reply);
    }
    const ingest::DigestReply copy = reply;
    if (!context_.replies.try_push(reply)) {
        return false;
    }
    context_.wake_door();
    count(copy);
    return true;
}

void Digests::count(const ingest::DigestReply& reply) {
    const auto known = static_cast<std::uint64_t>(std::ranges::count(reply.known, true));
    world_.event("digests.told", reply.first_block, known);
    world_.trace.count(known > 0 ? "seen.digests_known" : "seen.digests_unknown");
    const auto asked = std::ranges::find_if(asked_at_, [&](const Asked& one) {
        return one.request.session == reply.session && one.request.slot == reply.slot &&
               one.request.first_block == reply.first_block &&
               one.request.summaries == reply.summaries;
    });
    CW_ASSERT(asked != asked_at_.end());
    if (known == 0 && context_.clock.boot() - asked->at >= appliance::DigestDesk::wait_ns_max) {
        world_.trace.count("seen.digests_waited_in_vain");
    }
    if (world_.mutant == Mutant::digest_from_older_state && known > 0) {
        older_.note(asked->request, reply);
    }
    asked_at_.erase(asked);
}

}  // namespace cw::sim
