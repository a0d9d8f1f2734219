#include "appliance/master_target/target_digests.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>

namespace cw::appliance {
namespace {

constexpr std::int64_t retry_ns = 1 * ns_per_ms;  // A full ring has no bell.

}  // namespace

void TargetDigests::ask(const ingest::DigestRequest& request) {
    const std::lock_guard lock(mutex_);
    asked_.push_back(request);
}

bool TargetDigests::step(const Find& find) {
    {
        const std::lock_guard lock(mutex_);
        for (; !asked_.empty(); asked_.pop_front()) {
            const ingest::DigestRequest& request = asked_.front();
            Work& work = waiting_.emplace_back();
            work.request = request;
            work.deadline = clock_.boot() + wait_ns_max;
            work.reply = {.machine = request.machine,
                          .session = request.session,
                          .slot = request.slot,
                          .first_block = request.first_block,
                          .known = {},
                          .fingerprints = {},
                          .summaries = request.summaries};
        }
    }
    bool worked = send_ready();
    for (auto work = waiting_.begin(); work != waiting_.end(); ++work) {
        const Outcome outcome = work_on(*work, find(work->request.machine, work->request.disk));
        if (outcome == Outcome::waits) {
            continue;  // Its fence has not arrived; another's may have.
        }
        if (outcome == Outcome::complete) {
            ready_.emplace_back(work->request.reactor, std::move(work->reply));
            waiting_.erase(work);
        }
        worked = true;
        break;
    }
    return send_ready() || worked;
}

Nanos TargetDigests::next_deadline() const {
    Nanos due{INT64_MAX};
    for (const Work& work : waiting_) {
        due = std::min(due, work.deadline);
    }
    return ready_.empty() ? due : std::min(due, clock_.boot() + retry_ns);
}

TargetDigests::Outcome TargetDigests::work_on(Work& work, TargetDisk* target) {
    const ingest::DigestRequest& request = work.request;
    ingest::DigestReply& reply = work.reply;
    CW_ASSERT(reply.known.size() < request.count);
    const auto from = static_cast<std::uint32_t>(reply.known.size());
    if (target != nullptr && target->holds_fence(request.generation, request.fence)) {
        const std::uint32_t count = std::min(blocks_per_step, request.count - from);
        const auto digests = target->digests(request.first_block + from, count, secret_);
        if (digests) {
            for (const auto& digest : *digests) {
                reply.known.push_back(digest.has_value());
                if (digest) {
                    reply.fingerprints.push_back(*digest);
                }
            }
            return reply.known.size() == request.count ? Outcome::complete : Outcome::worked;
        }
        log_warning("target.digests_unreadable",
                    {{"path", target->options().path}, {"error", digests.error()}});
    } else if (target != nullptr && from == 0 && clock_.boot() - work.deadline < 0) {
        return Outcome::waits;
    }
    reply.known.resize(request.count, false);
    return Outcome::complete;
}

bool TargetDigests::send_ready() {
    // One reactor's full ring does not hold back the others.
    return std::erase_if(ready_, [this](auto& entry) { return send_(entry.first, entry.second); }) >
           0;
}

}  // namespace cw::appliance
