// BlobStore: the object store contract. One contract test runs against every implementation: the
// directory store, the Azure client (against the strict fake and Azurite) and the in-memory fake.
//
// Asynchronous: a call starts an operation; its callback runs inside a later poll() of the same
// thread, exactly once, never inside the call itself. Results come in any order.
//
// A put has three outcomes. `unknown` means the request may or may not have been applied, now or
// later: whoever asked must read back before deciding (resolve_put() in base form, the publisher
// for manifests). A timeout is never "failed".
//
// Thread-safety: none; one store object belongs to one thread. Make another from the same factory.
// Lifetime: bodies passed as spans must outlive the callback; everything else is copied.
#pragma once

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cw::blob {

// The vault's four containers (design: data and manifest are create-only and may be locked).
enum class Container : std::uint8_t { data, manifest, keys, control };
std::string_view name_of(Container container) noexcept;  // "data", "manifest", "keys", "control"

struct BlobName {
    Container container = Container::data;
    std::string name = {};  // [a-z0-9/._-]{1,1024}; checked by every implementation.
    friend auto operator<=>(const BlobName&, const BlobName&) = default;
};
std::string to_string(const BlobName& name);  // "data/0ab/…"
// Errors: blob_rejected.
Result<void> check_name(const BlobName& name);

using Metadata = std::vector<std::pair<std::string, std::string>>;  // Names [a-z0-9]+, sorted.

enum class PutCondition : std::uint8_t {
    none,       // Overwrite; only for keys and control.
    if_absent,  // If-None-Match: *
    if_match,   // If-Match: etag
};

struct PutRequest {
    BlobName name = {};
    std::vector<Bytes> body = {};  // Scattered; borrowed until the callback. Total <= 64 MiB.
    Metadata metadata = {};  // Carries the writer's nonce, so that a lost reply can be recognised.
    PutCondition condition = PutCondition::if_absent;
    std::string etag = {};  // For if_match.
    // CRC-64/NVME of the body, by whoever verified it. What it travels to is held against this one,
    // so that bytes which changed in memory since are refused (blob_checksum), not stored. Without
    // it an implementation makes its own of what it sends.
    std::optional<std::uint64_t> crc64 = {};
};

enum class PutOutcome : std::uint8_t { stored, refused, unknown };

struct PutResult {
    PutOutcome outcome = PutOutcome::unknown;
    std::string etag = {};            // When stored.
    std::optional<Error> error = {};  // When refused or unknown.
};

struct BlobProperties {
    std::uint64_t size = 0;
    std::string etag = {};
    Metadata metadata = {};
};

struct GetRequest {
    BlobName name = {};
    std::uint64_t offset = 0;
    std::uint64_t length = 0;   // 0: to the end. At most 64 MiB comes back.
    std::string if_match = {};  // Set when reading one object in several ranges.
};
struct GetResult {
    ByteVector bytes = {};           // Shorter than asked only at the end of the object.
    BlobProperties properties = {};  // size is the whole object's.
};

struct ListPage {
    struct Entry {
        std::string name = {};
        std::uint64_t size = 0;
    };
    std::vector<Entry> entries = {};  // Sorted by name within the page.
    std::string next = {};            // Opaque; empty at the end.
};

template <typename T>
using Done = std::function<void(T)>;

class BlobStore {
public:
    virtual ~BlobStore() = default;

    virtual void put(PutRequest request, Done<PutResult> done) = 0;
    // Errors: blob_not_found, blob_conflict (if_match), blob_unavailable, blob_throttled,
    // blob_auth, blob_denied, blob_checksum, vault_missing, blob_offline, blob_rejected.
    virtual void get(GetRequest request, Done<Result<GetResult>> done) = 0;
    virtual void head(BlobName name, Done<Result<BlobProperties>> done) = 0;
    // Names under `prefix` in order; `marker` is a former page's `next` or empty.
    virtual void list(Container container, std::string prefix, std::string marker,
                      Done<Result<ListPage>> done) = 0;
    // Absent is success. Errors: blob_immutable, blob_leased, and those of get.
    virtual void remove(BlobName name, Done<Result<void>> done) = 0;
    // Creates the containers; existing ones are fine. Only `causeway vault create` calls this.
    virtual void create_containers(Done<Result<void>> done) = 0;

    // Runs the callbacks of finished operations; returns how many.
    virtual std::size_t poll() = 0;
    // Waits for progress, at most `timeout_ns`; also returns when `wake_fd` (if >= 0) is readable.
    virtual void wait(std::int64_t timeout_ns, int wake_fd) = 0;
    [[nodiscard]] virtual std::size_t in_flight() const noexcept = 0;
    // Hint: how many operations may usefully be in flight (upload lanes). Live.
    virtual void set_concurrency(std::size_t operations) { (void)operations; }
};

// Makes stores of one vault; thread-safe. What appliance hands to whoever needs a store of its own.
class StoreFactory {
public:
    virtual ~StoreFactory() = default;
    virtual std::unique_ptr<BlobStore> make() = 0;
    [[nodiscard]] virtual std::string describe() const = 0;  // The URL without any secret.
};

// Blocking forms. list_all() passes over names not under `prefix` and those check_name() refuses.
PutResult put_and_wait(BlobStore& store, PutRequest request);
Result<GetResult> get_and_wait(BlobStore& store, GetRequest request);
Result<BlobProperties> head_and_wait(BlobStore& store, BlobName name);
Result<std::vector<ListPage::Entry>> list_all(BlobStore& store, Container container,
                                              const std::string& prefix);
Result<void> remove_and_wait(BlobStore& store, BlobName name);
Result<void> create_containers_and_wait(BlobStore& store);

}  // namespace cw::blob
