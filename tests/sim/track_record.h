// track_record.md as the programs read it: which seeds once failed, where, and what mended it.
//
// Each find begins with a line of three parts:
//   ### 326, 518 · 1dc1222 [words] · mended in 6d34f2d[, 7a8b9c0]
// The seeds, or "no seed (what it was found by)"; the commits that it was found at; those that
// mended it. The first paragraph below says what it was.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cw::sim {

// A find that has no seed was made by other means: by a fuzzer, by reading.
struct Find {
    std::string by;  // As the line says it: seeds, or other means.
    std::vector<std::uint64_t> seeds;
    std::vector<std::string> found_at, mended_in;  // Commits; never empty.
    std::string what;                              // One line; never empty.
};

// Thread-safety: immutable after it was read.
class TrackRecord {
public:
    // Errors: io_error; record_corrupt: a find whose line cannot be understood or that does not say
    // what it was (file and line), a row of a table, or no find at all. One that is misread would
    // be a seed that nobody runs.
    static Result<TrackRecord> read(const std::string& path);

    [[nodiscard]] const std::vector<Find>& finds() const noexcept { return finds_; }
    [[nodiscard]] std::set<std::uint64_t> seeds() const;
    // The commits that mended what this seed found at this commit, "a, b"; empty: no such find.
    [[nodiscard]] std::string mended_in(std::uint64_t seed, std::string_view commit) const;

private:
    std::vector<Find> finds_;
};

// The file of this tree, or the one that CAUSEWAY_TRACK_RECORD names.
std::string track_record_path();

// Whether `text` can be a commit: 7 to 40 lower-case hexadecimal digits.
bool is_commit(std::string_view text);

}  // namespace cw::sim
