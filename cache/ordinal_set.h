// OrdinalSet: which super-chunks of a disk are held, as ranges. Initial sync is nearly sequential,
// so a few ranges stand for millions of super-chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace cw::cache {

class OrdinalSet {
public:
    // False if it was there already.
    bool insert(std::uint32_t ordinal);
    // Adds [first, last]. Ranges may touch or overlap.
    void insert_range(std::uint32_t first, std::uint32_t last);
    void erase(std::uint32_t ordinal);
    [[nodiscard]] bool contains(std::uint32_t ordinal) const;
    void clear() noexcept { ranges_.clear(); }
    [[nodiscard]] std::vector<std::uint32_t> to_vector() const;
    [[nodiscard]] std::size_t range_count() const noexcept { return ranges_.size(); }
    // First → last, inclusive, disjoint and not touching.
    [[nodiscard]] const std::map<std::uint32_t, std::uint32_t>& ranges() const { return ranges_; }
    friend bool operator==(const OrdinalSet&, const OrdinalSet&) = default;

private:
    std::map<std::uint32_t, std::uint32_t> ranges_;
};

}  // namespace cw::cache
