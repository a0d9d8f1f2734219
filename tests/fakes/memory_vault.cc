#include "tests/fakes/memory_vault.h"

#include "egress/blob/common.h"
#include "tests/fakes/memory_store.h"

#include <algorithm>

namespace cw::fakes {
namespace {

using namespace blob;
constexpr std::size_t versions_kept = 4;

std::size_t index_of(Container container) {
    return static_cast<std::size_t>(container);
}
std::size_t index_of(BlobOp op) {
    return static_cast<std::size_t>(op);
}
std::size_t index_of(BlobFault fault) {
    return static_cast<std::size_t>(fault);
}

ByteVector gather(const std::vector<Bytes>& parts) {
    ByteVector bytes;
    bytes.reserve(total_bytes(parts));
    for (const Bytes part : parts) {
        bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
}

}  // namespace

MemoryVault::MemoryVault(Clock& clock, MemoryVaultOptions options)
    : clock_(clock), options_(std::move(options)), random_(make_seeded_random(options_.seed)) {}

std::unique_ptr<StoreFactory> MemoryVault::factory() {
    return make_memory_factory(*this);
}

void MemoryVault::create_containers() {
    const std::lock_guard guard(mutex_);
    containers_.fill(true);
}

void MemoryVault::script(BlobOp op, BlobFault fault, std::size_t times) {
    const std::lock_guard guard(mutex_);
    auto& queue = scripted_[index_of(op)];
    queue.insert(queue.end(), times, fault);
}

void MemoryVault::set_rates(const BlobFaultRates& rates) {
    const std::lock_guard guard(mutex_);
    rates_ = rates;
}

void MemoryVault::land_late() {
    const std::lock_guard guard(mutex_);
    land_due(Nanos{INT64_MAX});
}

bool MemoryVault::erase(const BlobName& name) {
    const std::lock_guard guard(mutex_);
    return objects_.erase(name) > 0;
}

bool MemoryVault::flip_bit(const BlobName& name, std::uint64_t bit) {
    const std::lock_guard guard(mutex_);
    const auto found = objects_.find(name);
    if (found == objects_.end() || found->second.versions.back().bytes.empty()) {
        return false;
    }
    ByteVector& bytes = found->second.versions.back().bytes;
    bytes[bit / 8 % bytes.size()] ^= static_cast<std::byte>(1U << (bit % 8));
    return true;
}

bool MemoryVault::swap(const BlobName& a, const BlobName& b) {
    const std::lock_guard guard(mutex_);
    const auto first = objects_.find(a), second = objects_.find(b);
    if (first == objects_.end() || second == objects_.end()) {
        return false;
    }
    std::swap(first->second.versions.back(), second->second.versions.back());
    return true;
}

bool MemoryVault::roll_back(const BlobName& name) {
    const std::lock_guard guard(mutex_);
    const auto found = objects_.find(name);
    if (found == objects_.end() || found->second.versions.size() < 2) {
        return false;
    }
    found->second.versions.pop_back();
    return true;
}

bool MemoryVault::lease(const BlobName& name, Nanos until) {
    const std::lock_guard guard(mutex_);
    const auto found = objects_.find(name);
    if (found == objects_.end()) {
        return false;
    }
    found->second.leased_until = until;
    return true;
}

void MemoryVault::end_leases() {
    const std::lock_guard guard(mutex_);
    for (auto& entry : objects_) {
        entry.second.leased_until = Nanos{0};
    }
}

bool MemoryVault::refuses_by_lease(const Object& object) {
    const bool leased = clock_.boot() < object.leased_until;
    refused_by_leases_ += leased ? 1 : 0;
    return leased;
}

void MemoryVault::drop_container(Container container) {
    const std::lock_guard guard(mutex_);
    containers_[index_of(container)] = false;
    std::erase_if(objects_, [&](const auto& entry) { return entry.first.container == container; });
}

MemoryVault::Copy MemoryVault::copy() const {
    const std::lock_guard guard(mutex_);
    Copy copy;
    copy.objects_ = objects_;
    return copy;
}

void MemoryVault::put_back(const Copy& copy, Container container) {
    const std::lock_guard guard(mutex_);
    std::erase_if(objects_, [&](const auto& entry) { return entry.first.container == container; });
    for (const auto& [name, object] : copy.objects_) {
        if (name.container == container) {
            objects_.emplace(name, object).first->second.leased_until = Nanos{0};
        }
    }
}

void MemoryVault::set_worm(Container container, std::int64_t retention_ns) {
    const std::lock_guard guard(mutex_);
    worm_ns_[index_of(container)] = retention_ns;
}

bool MemoryVault::set_archived(const BlobName& name, bool archived) {
    const std::lock_guard guard(mutex_);
    const auto found = objects_.find(name);
    if (found == objects_.end()) {
        return false;
    }
    found->second.archived = archived;
    return true;
}

std::vector<BlobName> MemoryVault::names() const {
    const std::lock_guard guard(mutex_);
    std::vector<BlobName> names;
    names.reserve(objects_.size());
    for (const auto& [name, object] : objects_) {
        names.push_back(name);
    }
    return names;
}

std::optional<ByteVector> MemoryVault::bytes(const BlobName& name) const {
    const std::lock_guard guard(mutex_);
    const auto found = objects_.find(name);
    if (found == objects_.end()) {
        return std::nullopt;
    }
    return found->second.versions.back().bytes;
}

std::uint64_t MemoryVault::stored_bytes() const {
    const std::lock_guard guard(mutex_);
    std::uint64_t sum = 0;
    for (const auto& [name, object] : objects_) {
        sum += object.versions.back().bytes.size();
    }
    return sum;
}

std::uint64_t MemoryVault::requests(BlobOp op) const {
    const std::lock_guard guard(mutex_);
    return requests_[index_of(op)];
}

std::uint64_t MemoryVault::faults(BlobFault fault) const {
    const std::lock_guard guard(mutex_);
    return faults_[index_of(fault)];
}

std::uint64_t MemoryVault::refused_by_leases() const {
    const std::lock_guard guard(mutex_);
    return refused_by_leases_;
}

std::optional<Nanos> MemoryVault::next_event() const {
    const std::lock_guard guard(mutex_);
    std::optional<Nanos> next;
    if (!due_.empty()) {
        next = due_.begin()->first;
    }
    for (const LatePut& put : late_) {
        next = std::min(next.value_or(put.due), put.due);
    }
    return next;
}

std::optional<Nanos> MemoryVault::next_event_after(Nanos now) const {
    const std::lock_guard guard(mutex_);
    std::optional<Nanos> next;
    if (const auto later = due_.upper_bound(now); later != due_.end()) {
        next = later->first;
    }
    for (const LatePut& put : late_) {
        if (put.due > now) {
            next = std::min(next.value_or(put.due), put.due);
        }
    }
    return next;
}

BlobFault MemoryVault::next_fault(BlobOp op) {
    const std::lock_guard guard(mutex_);
    ++requests_[index_of(op)];
    BlobFault fault = BlobFault::none;
    auto& queue = scripted_[index_of(op)];
    if (!queue.empty()) {
        fault = queue.front();
        queue.pop_front();
    } else {
        const std::array<std::pair<double, BlobFault>, 5> table{{
            {rates_.unavailable, BlobFault::unavailable},
            {rates_.throttled, BlobFault::throttled},
            {rates_.lost_reply, BlobFault::lost_reply},
            {rates_.lost_request, BlobFault::lost_request},
            {rates_.late, BlobFault::late},
        }};
        double at = static_cast<double>(random_->below(1'000'000)) / 1e6;
        for (const auto& [rate, candidate] : table) {
            if (at < rate) {
                fault = candidate;
                break;
            }
            at -= rate;
        }
    }
    ++faults_[index_of(fault)];
    return fault;
}

std::int64_t MemoryVault::draw_latency_ns() {
    const std::lock_guard guard(mutex_);
    const auto max = static_cast<std::uint64_t>(options_.latency_ns_max);
    return max == 0 ? 0 : static_cast<std::int64_t>(random_->below(max + 1));
}

bool MemoryVault::draw(double probability) {
    const std::lock_guard guard(mutex_);
    return static_cast<double>(random_->below(1'000'000)) < probability * 1e6;
}

void MemoryVault::land_due(Nanos now) {
    const std::lock_guard guard(mutex_);
    for (std::size_t i = 0; i < late_.size();) {
        if (late_[i].due > now) {
            ++i;
            continue;
        }
        LatePut put = std::move(late_[i]);
        late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(i));
        put.request.body = {Bytes(put.body)};
        (void)this->put(put.request);  // Its condition decides; nobody hears of it.
    }
}

PutResult MemoryVault::put(const PutRequest& request) {
    const std::lock_guard guard(mutex_);
    if (auto ok = require_container(request.name.container); !ok) {
        return {PutOutcome::refused, {}, ok.error()};
    }
    const auto found = objects_.find(request.name);
    const bool exists = found != objects_.end();
    if (request.condition == PutCondition::if_absent && exists) {
        return refused(Errc::blob_conflict, to_string(request.name) + " exists");
    }
    if (request.condition == PutCondition::if_match &&
        (!exists || found->second.versions.back().etag != request.etag)) {
        return refused(Errc::blob_conflict, to_string(request.name) + " has another etag");
    }
    if (auto ok = check_body(request); !ok) {
        return {PutOutcome::refused, {}, ok.error()};
    }
    if (exists && refuses_by_lease(found->second)) {
        return refused(Errc::blob_leased, to_string(request.name));
    }
    if (exists && locked(request.name, found->second)) {
        return refused(Errc::blob_immutable, to_string(request.name));
    }
    Object& object = objects_[request.name];
    if (!exists) {
        object.created = clock_.boot();
    }
    object.archived = false;
    object.versions.push_back(
        {gather(request.body), request.metadata, "e" + std::to_string(next_etag_++)});
    if (object.versions.size() > versions_kept) {
        object.versions.erase(object.versions.begin());
    }
    return stored(object.versions.back().etag);
}

void MemoryVault::put_late(const PutRequest& request) {
    const std::lock_guard guard(mutex_);
    LatePut put{clock_.boot() + options_.late_ns, request, gather(request.body)};
    put.request.body.clear();
    late_.push_back(std::move(put));
}

Result<GetResult> MemoryVault::get(const GetRequest& request) {
    const std::lock_guard guard(mutex_);
    CW_TRY_ASSIGN(const Object* object, find(request.name));
    const Version& version = object->versions.back();
    if (!request.if_match.empty() && request.if_match != version.etag) {
        return fail(Errc::blob_conflict, to_string(request.name) + " has another etag");
    }
    if (object->archived) {
        return fail(Errc::blob_offline, to_string(request.name));
    }
    const std::uint64_t size = version.bytes.size();
    const std::uint64_t offset = std::min(request.offset, size);
    const std::uint64_t wanted = request.length == 0 ? get_bytes_max : request.length;
    const Bytes range = Bytes(version.bytes).subspan(offset, std::min(wanted, size - offset));
    return GetResult{ByteVector(range.begin(), range.end()),
                     {size, version.etag, version.metadata}};
}

Result<BlobProperties> MemoryVault::head(const BlobName& name) {
    const std::lock_guard guard(mutex_);
    CW_TRY_ASSIGN(const Object* object, find(name));
    const Version& version = object->versions.back();
    return BlobProperties{version.bytes.size(), version.etag, version.metadata};
}

Result<ListPage> MemoryVault::list(Container container, const std::string& prefix,
                                   const std::string& marker) {
    const std::lock_guard guard(mutex_);
    CW_TRY(require_container(container));
    ListPage page;
    const Nanos now = clock_.boot();
    auto at = objects_.lower_bound(BlobName{container, std::max(prefix, marker)});
    for (; at != objects_.end() && at->first.container == container; ++at) {
        const auto& [name, object] = *at;
        if (!name.name.starts_with(prefix)) {
            break;
        }
        if (name.name <= marker || object.created + options_.list_lag_ns > now) {
            continue;
        }
        if (page.entries.size() == options_.page_entries) {
            page.next = page.entries.back().name;
            break;
        }
        page.entries.push_back({name.name, object.versions.back().bytes.size()});
    }
    return page;
}

Result<void> MemoryVault::remove(const BlobName& name) {
    const std::lock_guard guard(mutex_);
    const auto object = find(name);
    if (!object) {
        return object.error().code == Errc::blob_not_found ? Result<void>{}
                                                           : std::unexpected(object.error());
    }
    if (refuses_by_lease(**object)) {
        return fail(Errc::blob_leased, to_string(name));
    }
    if (locked(name, **object)) {
        return fail(Errc::blob_immutable, to_string(name));
    }
    objects_.erase(name);
    return {};
}

Result<MemoryVault::Object*> MemoryVault::find(const BlobName& name) {
    CW_TRY(require_container(name.container));
    const auto found = objects_.find(name);
    if (found == objects_.end()) {
        return fail(Errc::blob_not_found, to_string(name));
    }
    return &found->second;
}

Result<void> MemoryVault::require_container(Container container) const {
    if (!containers_[index_of(container)]) {
        return fail(Errc::vault_missing, "no container " + std::string(name_of(container)));
    }
    return {};
}

bool MemoryVault::locked(const BlobName& name, const Object& object) const {
    const std::int64_t retention_ns = worm_ns_[index_of(name.container)];
    return retention_ns > 0 && clock_.boot() < object.created + retention_ns;
}

}  // namespace cw::fakes
