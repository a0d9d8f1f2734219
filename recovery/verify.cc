#include "recovery/verify.h"

#include "base/assert.h"
#include "recovery/verify_segments.h"

#include <algorithm>

namespace cw::recovery {
namespace {

bool is_damage(const Error& error) {
    switch (error.code) {
        case Errc::object_corrupt:
        case Errc::blob_not_found:
        case Errc::format_unsupported:
        case Errc::key_unavailable:
        case Errc::vault_rolled_back:
            return true;
        default:
            return false;  // Unreadable is not corrupt.
    }
}

Verdict worse(Verdict a, Verdict b) {
    const auto rank = [](Verdict v) {
        return v == Verdict::intact ? 0 : v == Verdict::unknown ? 1 : 2;
    };
    return rank(a) >= rank(b) ? a : b;
}

Verdict verdict_of(const std::vector<Finding>& findings) {
    Verdict verdict = Verdict::intact;
    for (const Finding& finding : findings) {
        verdict = worse(verdict, is_damage(finding.error) ? Verdict::unusable : Verdict::unknown);
    }
    return verdict;
}

// Walks from the newest manifest down, checking signatures and hash links.
class ChainAudit {
public:
    ChainAudit(blob::BlobStore& store, const Catalog& catalog, VerifyReport& report)
        : store_(store), catalog_(catalog), report_(report) {}

    void run(std::uint64_t down_to) {
        const vault::Manifest& newest = catalog_.state().newest;
        Sha256 expected = catalog_.state().hash;
        report_.oldest_manifest = newest.number + 1;
        for (std::uint64_t number = newest.number; number >= down_to; --number) {
            const auto header = check(number, expected);
            if (!header) {
                const bool collected =
                    header.error().code == Errc::blob_not_found && number < newest.boundary;
                if (!collected) {
                    report_.chain_findings.push_back(
                        {to_string(vault::manifest_blob(catalog_.machine(), number)),
                         header.error()});
                }
                return;
            }
            ++report_.manifests_checked;
            report_.oldest_manifest = number;
            expected = header->previous;
        }
    }

private:
    Result<vault::ManifestHeader> check(std::uint64_t number, const Sha256& expected) {
        CW_TRY_ASSIGN(
            const blob::GetResult got,
            blob::get_and_wait(store_, {.name = vault::manifest_blob(catalog_.machine(), number)}));
        CW_TRY_ASSIGN(vault::ManifestHeader header,
                      vault::check_manifest(got.bytes, catalog_.vault()));
        if (sha256(got.bytes) != expected || header.number != number ||
            header.machine != catalog_.machine()) {
            return fail(Errc::object_corrupt, "is not the manifest whose hash its successor names");
        }
        return header;
    }

    blob::BlobStore& store_;
    const Catalog& catalog_;
    VerifyReport& report_;
};

PointVerdict judge(const Catalog& catalog, const vault::PointEntry& point,
                   const std::map<vault::SegmentName, Finding>& bad) {
    PointVerdict out;
    out.point = point;
    for (const vault::PointEntry::Cut& cut : point.cuts) {
        const auto segments = catalog.segments_of(cut);
        if (!segments) {
            out.findings.push_back({"manifest", segments.error()});
            continue;
        }
        for (const vault::SegmentRef* ref : *segments) {
            if (const auto at = bad.find(ref->name); at != bad.end()) {
                out.findings.push_back(at->second);
            }
        }
    }
    out.verdict = verdict_of(out.findings);
    return out;
}

}  // namespace

std::string_view name_of(VerifyDepth depth) noexcept {
    return depth == VerifyDepth::full      ? "full"
           : depth == VerifyDepth::sampled ? "sampled"
                                           : "index";
}

std::string_view name_of(Verdict verdict) noexcept {
    switch (verdict) {
        case Verdict::intact:
            return "intact";
        case Verdict::unusable:
            return "unusable";
        case Verdict::unknown:
            return "unknown";
    }
    return "unknown";
}

Verdict VerifyReport::verdict() const noexcept {
    Verdict verdict = worse(verdict_of(chain_findings), verdict_of(segment_findings));
    for (const PointVerdict& point : points) {
        verdict = worse(verdict, point.verdict);
    }
    return verdict;
}

Result<VerifyReport> verify_machine(blob::BlobStore& store, const Catalog& catalog,
                                    const VerifyOptions& options, Random& random,
                                    const VerifyProgress& progress) {
    VerifyReport report;
    report.depth = options.depth;
    report.manifest_number = catalog.state().newest.number;
    report.manifest_hash = catalog.state().hash;
    if (catalog.lost()) {
        report.chain_findings.push_back(
            {"manifest/" + to_string(catalog.machine()), *catalog.lost()});
    }
    const std::uint64_t checkpoint = std::max<std::uint64_t>(catalog.state().newest.checkpoint, 1);
    ChainAudit(store, catalog, report).run(options.whole_chain ? 1 : checkpoint);

    SegmentAudit audit(store, catalog, options, random);
    audit.run(progress);
    report.segments_checked = catalog.state().segments.size();
    report.chunks_checked = audit.chunks_checked();
    report.bytes_fetched = audit.bytes_fetched();
    for (const auto& [name, finding] : audit.bad()) {
        report.segment_findings.push_back(finding);
    }
    for (const vault::PointEntry* point : catalog.points()) {
        report.points.push_back(judge(catalog, *point, audit.bad()));
    }
    return report;
}

}  // namespace cw::recovery
