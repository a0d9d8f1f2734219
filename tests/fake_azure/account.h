// What the fake storage account holds: containers, blobs, their leases and locks.
#pragma once

#include "tests/fake_azure/lease.h"
#include "tests/fake_azure/page_map.h"

#include <atomic>
#include <chrono>
#include <mutex>

namespace cw::fake_azure {

// Real time plus what tests have added, so that leases end without anybody sleeping. Thread-safe.
class FakeTime {
public:
    [[nodiscard]] std::int64_t steady_ns() const {
        return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1) +
               added_ns_;
    }
    [[nodiscard]] std::int64_t wall_s() const {
        return std::chrono::system_clock::now().time_since_epoch() / std::chrono::seconds(1) +
               (added_ns_ + wall_only_ns_) / 1'000'000'000;
    }
    void advance(std::int64_t ns) { added_ns_ += ns; }
    // Makes only the date differ, as a server whose clock is wrong.
    void skew_wall(std::int64_t ns) { wall_only_ns_ = ns; }

private:
    std::atomic<std::int64_t> added_ns_{0}, wall_only_ns_{0};
};

enum class BlobKind : std::uint8_t { block, page };

struct Blob {
    BlobKind kind = BlobKind::block;
    std::uint64_t size = 0;
    Content content;  // Block blobs; null when the body was discarded.
    PageMap pages;    // Page blobs.
    std::uint64_t sequence_number = 0;
    std::map<std::string, std::string> metadata;
    std::map<std::string, std::string> properties;  // x-ms-blob-content-type and its like.
    std::string etag;                               // Without quotes.
    std::int64_t modified_s = 0;
    std::int64_t immutable_until_s = 0;
    std::string tier = "Hot";
    Lease lease;
};

struct Container {
    std::map<std::string, Blob> blobs;
    // Blocks waiting for a Put Block List, by blob and then by id.
    std::map<std::string, std::map<std::string, std::pair<Content, std::uint64_t>>> blocks;
    std::int64_t created_s = 0;
    std::int64_t retention_s = 0;       // Time-based immutability of every blob in it.
    std::int64_t deleted_until_ns = 0;  // > 0: being deleted until then.
};

// The owner locks `mutex` around every use.
struct Account {
    std::mutex mutex;
    std::map<std::string, Container> containers;
    std::uint64_t next_etag = 1;

    std::string make_etag();
    // Null when there is none or it is still being deleted.
    Container* find(const std::string& name, std::int64_t now_ns);
};

}  // namespace cw::fake_azure
