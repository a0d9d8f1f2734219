#include "recovery/page_blob_writer.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "recovery/vhd.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace cw::recovery {
namespace {

constexpr std::uint64_t window_bytes = blob::page_write_bytes_max, grain_bytes = 64 * kib;
constexpr unsigned attempts_max = 8;
constexpr std::int64_t pause_ns = 500 * ns_per_ms, wait_ns = 100 * ns_per_ms;
// Of a range of pages: Azure throttles a disk for minutes, as 503 or as 500.
constexpr std::int64_t first_pause_ns = 100 * ns_per_ms, longest_pause_ns = 10 * ns_per_s;
constexpr std::int64_t patience_ns = 600 * ns_per_s;

// Ranges on their way; what is refused for a while or unknown is written again: the same bytes.
class PageWrites {
public:
    PageWrites(blob::PageBlobStore& store, Clock& clock, const PageBlobOptions& options)
        : store_(store), clock_(clock), options_(options) {}
    ~PageWrites() {
        while (in_flight_ > 0) {  // They borrow our buffers.
            store_.wait(wait_ns);
            store_.poll();
        }
    }
    PageWrites(const PageWrites&) = delete;
    PageWrites& operator=(const PageWrites&) = delete;

    Result<void> write(std::uint64_t offset, Bytes bytes) {
        CW_TRY_ASSIGN(Job* const job, enter(offset));
        job->bytes.assign(bytes.begin(), bytes.end());
        start(*job);
        return {};
    }
    // Only where something may be: a new blob is all zeros. Neighbours become one request.
    Result<void> hole(std::uint64_t offset, std::uint64_t length) {
        if (!options_.existing) {
            return {};
        }
        if (hole_offset_ + hole_length_ != offset) {
            CW_TRY(clear_hole());
            hole_offset_ = offset;
        }
        hole_length_ += length;
        return {};
    }
    Result<void> finish() {
        CW_TRY(clear_hole());
        while (!jobs_.empty()) {
            CW_TRY(step());
        }
        return {};
    }

private:
    struct Job {
        std::uint64_t offset = 0, clear_length = 0;  // Cleared, if it has no bytes.
        ByteVector bytes;
        std::optional<blob::PutResult> result;
        // Since the first refusal: when that was, how long the next pause is, when it ends.
        std::optional<Nanos> refused, due;
        std::int64_t pause_ns = first_pause_ns;
    };

    Result<Job*> enter(std::uint64_t offset) {
        while (jobs_.size() >= options_.writes_in_flight) {
            CW_TRY(step());
        }
        Job& job = jobs_.emplace_back();
        job.offset = offset;
        return &job;
    }

    Result<void> clear_hole() {
        if (hole_length_ > 0) {
            CW_TRY_ASSIGN(Job* const job, enter(hole_offset_));
            job->clear_length = std::exchange(hole_length_, 0);
            start(*job);
        }
        return {};
    }

    void start(Job& job) {
        ++in_flight_;
        job.result.reset();
        job.due.reset();
        const auto sequence =
            options_.existing ? std::nullopt : std::optional<std::uint64_t>(options_.sequence);
        // A deque: others stay where they are when jobs come and go at its ends.
        auto done = [this, &job](blob::PutResult result) {
            --in_flight_;
            job.result.emplace(std::move(result));
        };
        if (job.bytes.empty()) {
            store_.clear({.blob = options_.blob,
                          .offset = job.offset,
                          .length = job.clear_length,
                          .sequence = sequence},
                         std::move(done));
        } else {
            store_.write({.blob = options_.blob,
                          .offset = job.offset,
                          .bytes = job.bytes,
                          .sequence = sequence},
                         std::move(done));
        }
    }

    Result<void> step() {
        if (options_.cancelled && options_.cancelled()) {
            return fail(Errc::cancelled, "before the disk was whole");
        }
        store_.wait(wait_ns);
        store_.poll();
        for (Job& job : jobs_) {
            if (job.result && job.result->outcome != blob::PutOutcome::stored) {
                CW_TRY(tend_refused(job));
            }
        }
        while (!jobs_.empty() && jobs_.front().result &&
               jobs_.front().result->outcome == blob::PutOutcome::stored) {
            jobs_.pop_front();
        }
        return {};
    }

    // Waits, ever longer, and starts it again. Errors: what refused it, if that is no matter of
    // time or has lasted too long.
    Result<void> tend_refused(Job& job) {
        const Nanos now = clock_.boot();
        if (job.due) {
            if (now - *job.due >= 0) {
                start(job);
            }
            return {};
        }
        CW_ASSERT(job.result->error.has_value());
        const Error& error = *job.result->error;
        const Action action = action_of(error.code);
        const bool again = job.result->outcome == blob::PutOutcome::unknown ||
                           action == Action::retry || action == Action::throttle;
        job.refused = job.refused.value_or(now);
        if (!again || now - *job.refused >= patience_ns) {
            return std::unexpected(error);
        }
        job.due = now + job.pause_ns;
        job.pause_ns = std::min(2 * job.pause_ns, longest_pause_ns);
        return {};
    }

    blob::PageBlobStore& store_;
    Clock& clock_;
    const PageBlobOptions& options_;
    std::deque<Job> jobs_;
    std::size_t in_flight_ = 0;
    std::uint64_t hole_offset_ = 0, hole_length_ = 0;  // Not asked for yet.
};

Result<void> create_blob(blob::PageBlobStore& store, const PageBlobOptions& options,
                         std::uint64_t bytes) {
    std::optional<blob::PutResult> result;
    store.create({.blob = options.blob,
                  .bytes = bytes,
                  .sequence = options.sequence,
                  .replace = options.force},
                 [&](blob::PutResult done) { result.emplace(std::move(done)); });
    while (!result) {
        store.wait(wait_ns);
        store.poll();
    }
    if (result->outcome == blob::PutOutcome::stored) {
        return {};
    }
    if (result->error->code == Errc::blob_conflict) {
        return fail(Errc::file_exists, options.blob.container + "/" + options.blob.name);
    }
    return std::unexpected(*result->error);
}

Result<void> check_size(blob::PageBlobStore& store, const PageBlobOptions& options,
                        std::uint64_t bytes) {
    std::optional<Result<std::uint64_t>> size;
    for (unsigned attempt = 1;; ++attempt) {
        store.size(options.blob,
                   [&](Result<std::uint64_t> done) { size.emplace(std::move(done)); });
        while (!size) {
            store.wait(wait_ns);
            store.poll();
        }
        if (*size || attempt == attempts_max || action_of(size->error().code) != Action::retry) {
            break;
        }
        size.reset();
        store.wait(pause_ns);
    }
    CW_TRY_ASSIGN(const std::uint64_t found, *size);
    if (found != bytes) {
        return fail(Errc::target_unsafe, "the managed disk takes " + std::to_string(found) +
                                             " bytes, the image has " + std::to_string(bytes) +
                                             ": make the disk with that --upload-size-bytes");
    }
    return {};
}

// The runs of a window that are not zero.
Result<std::uint64_t> write_window(PageWrites& writes, std::uint64_t offset, Bytes bytes) {
    std::uint64_t written = 0;
    for (std::size_t begin = 0; begin < bytes.size();) {
        std::size_t end = begin;
        while (end < bytes.size()) {
            const std::size_t n = std::min<std::size_t>(grain_bytes, bytes.size() - end);
            if (all_zero(bytes.subspan(end, n))) {
                break;
            }
            end += n;
        }
        if (end == begin) {
            const std::size_t n = std::min<std::size_t>(grain_bytes, bytes.size() - begin);
            CW_TRY(writes.hole(offset + begin, n));
            begin += n;
            continue;
        }
        CW_TRY(writes.write(offset + begin, bytes.subspan(begin, end - begin)));
        written += end - begin;
        begin = end;
    }
    return written;
}

}  // namespace

Result<WriteReport> write_page_blob(Image& image, blob::PageBlobStore& store, Clock& clock,
                                    const PageBlobOptions& options, const Progress& progress) {
    WriteReport report;
    report.image_bytes = image.size_bytes();
    const std::uint64_t disk_bytes = vhd_disk_bytes(report.image_bytes);
    report.file_bytes = disk_bytes + vhd_footer_bytes;
    CW_TRY((options.existing ? check_size : create_blob)(store, options, report.file_bytes));
    PageWrites writes(store, clock, options);
    ByteVector buffer(window_bytes);
    for (std::uint64_t at = 0; at < report.image_bytes; at += window_bytes) {
        if (options.cancelled && options.cancelled()) {
            return fail(Errc::cancelled, "before the disk was whole");
        }
        const std::uint64_t length = std::min(window_bytes, report.image_bytes - at);
        const auto extents = image.extents(at, length, 2);
        if (extents.size() != 1 || !extents.front().zero) {
            const MutableBytes part = MutableBytes(buffer).first(length);
            CW_TRY(image.read(at, part));
            CW_TRY_ASSIGN(const std::uint64_t written, write_window(writes, at, part));
            report.written_bytes += written;
        } else {
            CW_TRY(writes.hole(at, length));
        }
        if (progress) {
            progress(at + length, report.image_bytes);
        }
    }
    if (disk_bytes > report.image_bytes) {
        CW_TRY(writes.hole(report.image_bytes, disk_bytes - report.image_bytes));
    }
    CW_TRY(writes.finish());  // The footer says that what is before it is whole.
    CW_TRY(writes.write(disk_bytes, vhd_footer(disk_bytes, options.image_id, options.created)));
    CW_TRY(writes.finish());
    report.written_bytes += vhd_footer_bytes;
    return report;
}

}  // namespace cw::recovery
