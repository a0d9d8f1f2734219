#include "appliance/digest_desk.h"

#include "base/log.h"

#include <algorithm>

namespace cw::appliance {
namespace {

// 32 GiB of disk: at most 8.5 MiB of fingerprints per table.
constexpr std::uint64_t table_blocks = 512 * 1024;
constexpr std::size_t tables_max = 4;
constexpr std::uint64_t table_bytes_max = table_blocks * (sizeof(Fingerprint) + 1);
constexpr std::size_t requests_at_once = 4;

using ingest::DigestReply;
using ingest::DigestRequest;
using recovery::BlockDigests;
using recovery::BlockRange;

// Around `block`, not beyond the disk's end.
BlockRange stretch_of(std::uint64_t block, std::uint64_t disk_bytes) {
    const std::uint64_t first = block / table_blocks * table_blocks;
    const std::uint64_t end =
        (disk_bytes + recovery::digest_block_bytes - 1) / recovery::digest_block_bytes;
    return {first, std::clamp(end, block + 1, first + table_blocks) - first};
}

}  // namespace

std::uint64_t DigestDesk::bytes_max() noexcept {
    return tables_max * table_bytes_max;
}

void DigestDesk::take(const DigestRequest& request) {
    waiting_.push_back({request, ports_.clock.boot() + wait_ns_max});
}

bool DigestDesk::step() {
    const bool answered = answer_some();
    const bool sent = send_some();
    return answered || sent;
}

bool DigestDesk::answer_some() {
    bool worked = false;
    for (auto at = waiting_.begin(); at != waiting_.end() && !ports_.stopping();) {
        auto reply = answer(*at);
        if (!reply) {
            ++at;
            continue;
        }
        replies_.emplace_back(at->request.reactor, std::move(*reply));
        at = waiting_.erase(at);
        worked = true;
    }
    return worked;
}

bool DigestDesk::send_some() {
    const std::size_t before = replies_.size();
    // One reactor's full ring does not hold back the others.
    std::erase_if(replies_,
                  [this](auto& entry) { return ports_.reply(entry.first, entry.second); });
    return replies_.size() < before;
}

std::optional<DigestReply> DigestDesk::answer(const Waiting& waiting) {
    const DigestRequest& request = waiting.request;
    if (raw(request.fence) == 0) {
        return digest_reply(request, nullptr);
    }
    const Table* table = find(request);
    if (table == nullptr) {
        const bool late = ports_.clock.boot() - waiting.deadline >= 0;
        if (ports_.open_fence(request.machine, request.disk) == request.fence) {
            auto loaded = load(request);
            if (!loaded) {
                log_warning("appliance.digests_unknown", {{"disk", to_string(request.disk)},
                                                          {"error", to_string(loaded.error())}});
                return digest_reply(request, nullptr);
            }
            table = *loaded;
        }
        if (table == nullptr) {
            return late ? std::optional(digest_reply(request, nullptr)) : std::nullopt;
        }
    }
    return digest_reply(request, table->digests ? &*table->digests : nullptr);
}

const DigestDesk::Table* DigestDesk::find(const DigestRequest& request) {
    const auto found = std::ranges::find_if(tables_, [&](const Table& table) {
        return table.machine == request.machine && table.disk == request.disk &&
               table.generation == request.generation && table.fence == request.fence &&
               request.first_block >= table.range.first && request.first_block < table.range.end();
    });
    if (found == tables_.end()) {
        return nullptr;
    }
    tables_.splice(tables_.begin(), tables_, found);
    return &tables_.front();
}

Result<const DigestDesk::Table*> DigestDesk::load(const DigestRequest& request) {
    CW_TRY_ASSIGN(const auto catalog,
                  recovery::Catalog::open(ports_.store, ports_.kek, request.machine, {}));
    const auto& disks = catalog.state().newest.disks;
    const auto entry = std::ranges::find(disks, request.disk, &vault::DiskEntry::disk);
    if (entry == disks.end() || entry->generation != request.generation ||
        entry->open_fence != request.fence) {
        return nullptr;
    }
    const BlockRange range = stretch_of(request.first_block, entry->size_bytes);
    recovery::DiskAtPoint at;
    at.disk = entry->disk;
    at.generation = entry->generation;
    at.cut = entry->committed;
    at.size_bytes = entry->size_bytes;
    recovery::Fetcher fetcher(ports_.store, requests_at_once);
    auto digests =
        BlockDigests::read(fetcher, catalog, at, range, {2 * requests_at_once, ports_.stopping});
    if (!digests) {
        log_warning("appliance.digests_unreadable",
                    {{"disk", to_string(request.disk)}, {"error", to_string(digests.error())}});
    } else {
        log_info("appliance.digests_read",
                 {{"disk", to_string(request.disk)}, {"known", digests->known()}});
    }
    if (tables_.size() == tables_max) {
        tables_.pop_back();
    }
    // A table that could not be read is kept too: it is not tried again for every window.
    tables_.push_front({request.machine, request.disk, request.generation, request.fence, range,
                        digests ? std::optional(std::move(*digests)) : std::nullopt});
    return &tables_.front();
}

DigestReply digest_reply(const DigestRequest& request, const BlockDigests* digests) {
    DigestReply reply{.machine = request.machine,
                      .session = request.session,
                      .slot = request.slot,
                      .first_block = request.first_block,
                      .known = std::vector<bool>(request.count, false),
                      .fingerprints = {},
                      .summaries = request.summaries};
    for (std::uint32_t i = 0; digests != nullptr && i < request.count; ++i) {
        const std::uint64_t block = request.first_block + i;
        const BlockRange& range = digests->range();
        if (block < range.first || block >= range.end()) {
            continue;
        }
        if (const auto digest = digests->at(block)) {
            reply.known[i] = true;
            reply.fingerprints.push_back(*digest);
        }
    }
    return reply;
}

Seq open_fence_in(const upload::EngineStatus& status, const MachineId& machine,
                  const DiskId& disk) {
    for (const upload::MachineStatus& shown : status.machines) {
        const auto found = std::ranges::find(shown.disks, disk, &upload::DiskStatus::disk);
        if (shown.machine == machine && found != shown.disks.end()) {
            return found->open_fence;
        }
    }
    return Seq{};
}

}  // namespace cw::appliance
