// SpoolIndex: where each live, durable record lies now. The one thing the spool's thread and its
// readers share.
//
// A read pins the region it reads from; the spool recycles no region that is pinned, so what a
// reader looked up stays there until it is done, even if the record is moved or released meanwhile.
// Thread-safety: all functions, from any thread. A look-up per record of some 256 KiB: a mutex
// does.
#pragma once

#include "cache/spool_format.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace cw::cache {

struct Place {
    std::uint32_t region = 0;
    std::uint32_t table_bytes = 0, data_bytes = 0, table_crc = 0;
    std::uint64_t table_offset = 0, data_offset = 0;  // In the file.

    // What it occupies: the payload and its entry in a batch header. Never 0, so that a region with
    // a live record never looks dead.
    [[nodiscard]] std::uint64_t footprint() const noexcept {
        return std::uint64_t{table_bytes} + data_bytes + batch_record_bytes;
    }
};

class SpoolIndex {
public:
    SpoolIndex(std::string log_path, std::uint32_t region_count)
        : log_path_(std::move(log_path)), pins_(region_count, 0) {}

    void insert(Lsn lsn, const Place& place);
    [[nodiscard]] std::optional<Place> find(Lsn lsn) const;
    // The record lies at `place` now. Returns where it lay; nothing if it was released meanwhile.
    std::optional<Place> relocate(Lsn lsn, const Place& place);
    std::optional<Place> erase(Lsn lsn);
    // Looks up and pins the region until unpin().
    std::optional<Place> acquire(Lsn lsn);
    void unpin(std::uint32_t region);
    [[nodiscard]] bool pinned(std::uint32_t region) const;
    [[nodiscard]] std::optional<Lsn> oldest() const;
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] const std::string& log_path() const noexcept { return log_path_; }

private:
    const std::string log_path_;
    mutable std::mutex mutex_;
    std::map<Lsn, Place> places_;
    std::vector<std::uint32_t> pins_;
};

}  // namespace cw::cache
