// Verify: proves from the vault alone which recovery points are whole.
//
// The chain: every manifest that still exists is signed, certified and names the hash of the one
// before. The segments: header, index and trailer against the manifest; with `sampled` some, with
// `full` all chunks are fetched, authenticated and decompressed. A point is intact if every segment
// it reads is; what could not be read makes it unknown, never corrupt.
#pragma once

#include "base/random.h"
#include "recovery/image_reader.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace cw::recovery {

enum class VerifyDepth : std::uint8_t { index, sampled, full };
enum class Verdict : std::uint8_t { intact, unusable, unknown };
std::string_view name_of(VerifyDepth depth) noexcept;  // "index", "sampled", "full"
std::string_view name_of(Verdict verdict) noexcept;    // "intact", "unusable", "unknown"

struct VerifyOptions {
    VerifyDepth depth = VerifyDepth::index;
    std::size_t download_threads = 4;
    std::uint32_t sample_one_in = 64;  // sampled: chunks per segment, at least one.
    bool whole_chain = true;           // false: only manifests from the newest checkpoint on.
};

struct Finding {
    std::string object;  // "data/…", "manifest/…"
    Error error;
};

struct PointVerdict {
    vault::PointEntry point;
    Verdict verdict = Verdict::intact;
    std::vector<Finding> findings;  // Of the segments it needs.
};

struct VerifyReport {
    VerifyDepth depth = VerifyDepth::sampled;  // What the verdicts rest on.
    std::uint64_t manifest_number = 0;         // Newest.
    Sha256 manifest_hash{};
    std::uint64_t manifests_checked = 0;
    std::uint64_t oldest_manifest = 0;  // Down to which the chain is unbroken.
    std::vector<Finding> chain_findings;
    std::uint64_t segments_checked = 0;
    std::uint64_t chunks_checked = 0;
    std::uint64_t bytes_fetched = 0;
    std::vector<Finding> segment_findings;
    std::vector<PointVerdict> points;                // Oldest first.
    [[nodiscard]] Verdict verdict() const noexcept;  // Of everything together.
};

// Segments done, of total.
using VerifyProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Blocking. Open `catalog` with accept_stale: then a chain whose end is damaged is a finding, and
// the points before it are judged. `random` chooses the samples. Findings are results, not errors;
// an error means that nothing could be said at all.
Result<VerifyReport> verify_machine(blob::BlobStore& store, const Catalog& catalog,
                                    const VerifyOptions& options, Random& random,
                                    const VerifyProgress& progress);

}  // namespace cw::recovery
