#include "appliance/digest_service.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>
#include <chrono>
#include <csignal>

#include <pthread.h>

namespace cw::appliance {
namespace {

// 32 GiB of disk: at most 8.5 MiB of fingerprints per table.
constexpr std::uint64_t table_blocks = 512 * 1024;
constexpr std::size_t tables_max = 4;
constexpr std::uint64_t table_bytes_max = table_blocks * (sizeof(Fingerprint) + 1);
constexpr std::size_t requests_at_once = 4;
constexpr std::chrono::milliseconds retry_pause{100};

using ingest::DigestReply;
using ingest::DigestRequest;
using recovery::BlockDigests;
using recovery::BlockRange;

DigestReply reply_to(const DigestRequest& request, const BlockDigests* digests) {
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

}  // namespace

std::uint64_t DigestService::bytes_max() noexcept {
    return tables_max * table_bytes_max;
}

DigestService::~DigestService() {
    stop();
}

void DigestService::start() {
    CW_ASSERT(!thread_.joinable());
    thread_ = std::thread([this] { run(); });
}

void DigestService::stop() {
    stopping_.store(true, std::memory_order_release);
    {
        const std::lock_guard lock(mutex_);  // Or the thread could miss the word before it waits.
        wake_.notify_one();
    }
    if (thread_.joinable()) {
        thread_.join();
    }
}

void DigestService::ask(const DigestRequest& request) {
    const std::lock_guard lock(mutex_);
    asked_.push_back(request);
    wake_.notify_one();
}

void DigestService::run() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // Signals are the main thread's.
    const auto store = ports_.stores.make();
    while (!stopping_.load(std::memory_order_acquire)) {
        const bool answered = answer_some(*store);
        const bool sent = send_some();
        std::unique_lock lock(mutex_);
        const auto woken = [this] { return !asked_.empty() || stopping_.load(); };
        if (answered || sent) {
            // More may be possible at once.
        } else if (waiting_.empty() && replies_.empty()) {
            wake_.wait(lock, woken);
        } else {
            wake_.wait_for(lock, retry_pause, woken);
        }
        for (; !asked_.empty(); asked_.pop_front()) {
            waiting_.push_back({asked_.front(), ports_.clock.boot() + wait_ns_max});
        }
    }
}

bool DigestService::answer_some(blob::BlobStore& store) {
    bool worked = false;
    for (auto at = waiting_.begin(); at != waiting_.end() && !stopping_.load();) {
        auto reply = answer(store, *at);
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

bool DigestService::send_some() {
    const std::size_t before = replies_.size();
    // One reactor's full ring does not hold back the others.
    std::erase_if(replies_,
                  [this](auto& entry) { return ports_.reply(entry.first, entry.second); });
    return replies_.size() < before;
}

std::optional<DigestReply> DigestService::answer(blob::BlobStore& store, const Waiting& waiting) {
    const DigestRequest& request = waiting.request;
    if (raw(request.fence) == 0) {
        return reply_to(request, nullptr);
    }
    const Table* table = find(request);
    if (table == nullptr) {
        const bool late = ports_.clock.boot() - waiting.deadline >= 0;
        if (ports_.open_fence(request.machine, request.disk) == request.fence) {
            auto loaded = load(store, request);
            if (!loaded) {
                log_warning("appliance.digests_unknown", {{"disk", to_string(request.disk)},
                                                          {"error", to_string(loaded.error())}});
                return reply_to(request, nullptr);
            }
            table = *loaded;
        }
        if (table == nullptr) {
            return late ? std::optional(reply_to(request, nullptr)) : std::nullopt;
        }
    }
    return reply_to(request, table->digests ? &*table->digests : nullptr);
}

const DigestService::Table* DigestService::find(const DigestRequest& request) {
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

Result<const DigestService::Table*> DigestService::load(blob::BlobStore& store,
                                                        const DigestRequest& request) {
    CW_TRY_ASSIGN(const auto catalog,
                  recovery::Catalog::open(store, ports_.kek, request.machine, {}));
    const auto& disks = catalog.state().newest.disks;
    const auto entry = std::ranges::find(disks, request.disk, &vault::DiskEntry::disk);
    if (entry == disks.end() || entry->generation != request.generation ||
        entry->open_fence != request.fence) {
        return nullptr;
    }
    const BlockRange range{request.first_block / table_blocks * table_blocks, table_blocks};
    recovery::DiskAtPoint at;
    at.disk = entry->disk;
    at.generation = entry->generation;
    at.cut = entry->committed;
    at.size_bytes = entry->size_bytes;
    recovery::Fetcher fetcher(store, requests_at_once);
    auto digests = BlockDigests::read(fetcher, catalog, at, range,
                                      {2 * requests_at_once, [this] { return stopping_.load(); }});
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

}  // namespace cw::appliance
