#include "recovery/verify_segments.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::recovery {
namespace {

using vault::Chunk;

constexpr std::uint64_t run_bytes_max = 4 * mib;

}  // namespace

SegmentAudit::SegmentAudit(blob::BlobStore& store, const Catalog& catalog,
                           const VerifyOptions& options, Random& random)
    : catalog_(catalog),
      options_(options),
      random_(random),
      scratch_(vault::chunk_bytes_max),
      fetcher_(store, std::clamp<std::size_t>(options.download_threads, 1, 32)) {
    CW_ASSERT(options.sample_one_in >= 1 && options.download_threads >= 1);
}

void SegmentAudit::run(const VerifyProgress& progress) {
    const auto& segments = catalog_.state().segments;
    auto next = segments.begin();
    while (next != segments.end() || in_flight_ > 0) {
        while (next != segments.end() && in_flight_ < options_.download_threads) {
            begin(next->second);
            ++next;
        }
        const std::uint64_t before = done_;
        fetcher_.wait(fetch_wait_slice_ns);
        fetcher_.poll();
        if (progress && done_ != before) {
            progress(done_, segments.size());
        }
    }
}

void SegmentAudit::begin(const vault::SegmentRef& ref) {
    ++in_flight_;
    open_segment(fetcher_, catalog_, ref, [this, &ref](Result<OpenSegment> opened) {
        if (!opened) {
            blame(ref.name, std::move(opened).error());
            segment_done();
            return;
        }
        check_chunks(std::move(*opened));
    });
}

void SegmentAudit::check_chunks(OpenSegment segment) {
    const std::vector<Run> runs = choose(segment);
    if (runs.empty()) {
        segment_done();
        return;
    }
    const auto check = std::make_shared<Check>(Check{std::move(segment), runs.size(), false});
    for (const Run run : runs) {
        fetch_run(check, run);
    }
}

std::vector<SegmentAudit::Run> SegmentAudit::choose(const OpenSegment& segment) {
    std::vector<std::size_t> with_bytes;
    for (std::size_t i = 0; i < segment.chunks.size(); ++i) {
        if (has_bytes(segment.chunks[i].codec)) {
            with_bytes.push_back(i);
        }
    }
    std::vector<Run> runs;
    if (options_.depth == VerifyDepth::index || with_bytes.empty()) {
        return runs;
    }
    if (options_.depth == VerifyDepth::sampled) {
        const std::size_t count = (with_bytes.size() - 1) / options_.sample_one_in + 1;
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t pick = with_bytes[random_.below(with_bytes.size())];
            runs.push_back({pick, pick});
        }
        return runs;
    }
    for (const std::size_t i : with_bytes) {
        const Chunk& chunk = segment.chunks[i];
        const bool joins =
            !runs.empty() && chunk.stored_offset + chunk.stored_length -
                                     segment.chunks[runs.back().first].stored_offset <=
                                 run_bytes_max;
        if (joins) {
            runs.back().last = i;
        } else {
            runs.push_back({i, i});
        }
    }
    return runs;
}

void SegmentAudit::fetch_run(const std::shared_ptr<Check>& check, Run run) {
    const Chunk &first = check->segment.chunks[run.first], &last = check->segment.chunks[run.last];
    const vault::SegmentName& name = check->segment.ref->name;
    fetcher_.fetch(segment_blob(name), first.stored_offset,
                   last.stored_offset + last.stored_length - first.stored_offset,
                   [this, check, run](Result<ByteVector> got) {
                       Result<void> opened =
                           got ? open_run(check->segment, run, *got)
                               : Result<void>(std::unexpected(std::move(got).error()));
                       if (!opened && !check->failed) {
                           check->failed = true;
                           blame(check->segment.ref->name, std::move(opened).error());
                       }
                       if (--check->ranges == 0) {
                           segment_done();
                       }
                   });
}

Result<void> SegmentAudit::open_run(const OpenSegment& segment, Run run, Bytes bytes) {
    const std::uint64_t begin = segment.chunks[run.first].stored_offset;
    for (std::size_t i = run.first; i <= run.last; ++i) {
        const Chunk& chunk = segment.chunks[i];
        if (!has_bytes(chunk.codec)) {
            continue;
        }
        CW_TRY(vault::open_chunk(*segment.crypto, chunk,
                                 bytes.subspan(chunk.stored_offset - begin, chunk.stored_length),
                                 MutableBytes(scratch_).first(chunk.raw_length)));
        ++chunks_;
    }
    return {};
}

void SegmentAudit::blame(const vault::SegmentName& name, Error error) {
    bad_.emplace(name, Finding{to_string(segment_blob(name)), about(name, std::move(error))});
}

}  // namespace cw::recovery
