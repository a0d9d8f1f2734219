#include "recovery/page_blob_writer.h"

#include "base/checksum.h"
#include "recovery/page_proof.h"
#include "recovery/vhd.h"

#include <algorithm>
#include <utility>

namespace cw::recovery {
namespace {

constexpr std::uint64_t window_bytes = blob::page_write_bytes_max, grain_bytes = 64 * kib;

// What becomes of each range of the disk.
class PageWrites {
public:
    PageWrites(const PagePlace& place, const PageBlobOptions& options, PageProof& proof)
        : place_(place),
          options_(options),
          proof_(proof),
          before_(place),
          sequence_(options.existing ? std::nullopt : std::optional(options.sequence)) {}

    Result<void> write(std::uint64_t offset, Bytes bytes) {
        proof_.wrote(offset, bytes);
        return place_.requests.write({place_.blob, offset, bytes, sequence_});
    }
    // Only where something is: a new blob is all zeros. Neighbours become one request.
    Result<void> hole(std::uint64_t offset, std::uint64_t length) {
        if (!options_.existing) {
            return {};
        }
        if (hole_offset_ + hole_length_ != offset || offset % blob::page_span_bytes_max == 0) {
            CW_TRY(clear_hole());
            hole_offset_ = offset;
        }
        hole_length_ += length;
        return {};
    }
    Result<void> finish() {
        CW_TRY(clear_hole());
        return place_.requests.finish();
    }

private:
    Result<void> clear_hole() {
        const std::uint64_t length = std::exchange(hole_length_, 0);
        if (length == 0) {
            return {};
        }
        auto there = before_.occupied(hole_offset_, length);
        if (!there && action_of(there.error().code) == Action::stop &&
            there.error().code != Errc::cancelled) {
            there = ByteRange{hole_offset_, length};  // It does not tell: whatever may be there.
        }
        CW_TRY(there);
        return there->length == 0
                   ? Result<void>{}
                   : place_.requests.clear({place_.blob, there->offset, there->length, sequence_});
    }

    const PagePlace& place_;
    const PageBlobOptions& options_;
    PageProof& proof_;
    PageMap before_;
    const std::optional<std::uint64_t> sequence_;
    std::uint64_t hole_offset_ = 0, hole_length_ = 0;  // Not asked for yet; within one span.
};

Result<void> create_blob(blob::PageBlobStore& store, PageRequests& requests,
                         const PageBlobOptions& options, std::uint64_t bytes) {
    bool unknown = false;  // Whether an earlier try may have made it.
    const auto created = requests.ask<void>([&](auto done) {
        store.create({options.blob, bytes, options.sequence, options.force},
                     [&unknown, done](blob::PutResult result) {
                         unknown = unknown || result.outcome == blob::PutOutcome::unknown;
                         done(result.outcome == blob::PutOutcome::stored
                                  ? Result<void>{}
                                  : std::unexpected(std::move(*result.error)));
                     });
    });
    if (!created && created.error().code == Errc::blob_conflict) {
        return fail(
            Errc::file_exists,
            options.blob.container + "/" + options.blob.name +
                (unknown ? ": made by a try of this command whose answer was lost, or there "
                           "before"
                         : ""));
    }
    return created;
}

Result<void> clear_now(const PagePlace& place, std::uint64_t offset) {
    return place.requests.ask<void>([&](auto done) {
        place.store.clear({place.blob, offset, blob::page_bytes, std::nullopt},
                          [done](blob::PutResult result) {
                              done(result.outcome == blob::PutOutcome::stored
                                       ? Result<void>{}
                                       : std::unexpected(std::move(*result.error)));
                          });
    });
}

std::unexpected<Error> other_size(const std::string& found, const PagePlace& place) {
    return fail(Errc::target_unsafe, "the managed disk takes " + found + ", the image has " +
                                         std::to_string(place.bytes) +
                                         ": make the disk with that --upload-size-bytes");
}

// Of a disk whose SAS does not let its size be asked: the page behind its end must not be there,
// its last one must. One page of a disk that is larger is lost, instead of all that the image has.
Result<void> try_size(const PagePlace& place) {
    const auto beyond = clear_now(place, place.bytes);
    if (beyond) {
        return other_size("more than " + std::to_string(place.bytes) + " bytes", place);
    }
    // Whatever else is wrong is wrong of the last page, too.
    if (action_of(beyond.error().code) != Action::stop || beyond.error().code == Errc::cancelled) {
        return beyond;
    }
    const auto last = clear_now(place, place.bytes - blob::page_bytes);
    if (!last && last.error().code == Errc::blob_rejected) {
        return other_size("less than " + std::to_string(place.bytes) + " bytes", place);
    }
    return last;
}

// Errors: target_unsafe; blob_denied (to be verified, but the SAS does not read); those of the
// store, cancelled.
Result<void> check_size(const PagePlace& place, bool verify) {
    auto found = place.requests.ask<std::uint64_t>(
        [&](auto done) { place.store.size(place.blob, std::move(done)); });
    if (!found && found.error().code == Errc::blob_denied) {
        if (!verify) {
            return try_size(place);
        }
        found.error().detail +=
            "; nothing was written: the SAS lacks the right to read (r in its sp=), which --verify "
            "needs";
    }
    CW_TRY(found);
    return *found == place.bytes ? Result<void>{}
                                 : other_size(std::to_string(*found) + " bytes", place);
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

// The whole image, in order; the footer last. `at` follows.
Result<std::uint64_t> upload_image(Image& image, PageRequests& requests, PageWrites& writes,
                                   const std::function<void(std::uint64_t at)>& show) {
    ByteVector buffer(window_bytes);
    std::uint64_t written = 0;
    for (std::uint64_t at = 0; at < image.size_bytes();) {
        const std::uint64_t length = std::min(window_bytes, image.size_bytes() - at);
        const auto extents = image.extents(at, length, 2);
        if (extents.size() != 1 || !extents.front().zero) {
            const MutableBytes part = MutableBytes(buffer).first(length);
            // The vault's own patience is shorter, and what was written so far would be lost.
            CW_TRY(requests.insist<void>([&] { return image.read(at, part); }));
            CW_TRY_ASSIGN(const std::uint64_t bytes, write_window(writes, at, part));
            written += bytes;
        } else {
            CW_TRY(writes.hole(at, length));
        }
        at += length;
        show(at);
    }
    return written;
}

// What the service says of what it has. Errors: restore_mismatch, those of the store, cancelled.
Result<void> prove(PageProof& proof, Image& image, const PageBlobOptions& options,
                   PageBlobReport& report, const std::function<void(std::uint64_t at)>& show) {
    const auto only_refused = [](const Error& error) {
        return action_of(error.code) != Action::retry &&
               action_of(error.code) != Action::throttle && error.code != Errc::cancelled &&
               error.code != Errc::restore_mismatch;
    };
    auto proven = proof.check_ranges();
    if (options.verify) {
        Sha256Stream digest;
        if (proven) {
            proven = proof.check_all(image, [&](std::uint64_t at, Bytes bytes) {
                digest.update(bytes);
                show(image.size_bytes() + at);
            });
        }
        if (!proven && only_refused(proven.error())) {
            proven.error().detail += "; everything was written, but cannot be verified";
        }
        CW_TRY(proven);
        report.written.sha256 = digest.finish();
        return {};
    }
    if (proven) {
        proven = proof.check_samples();
    }
    if (!proven && only_refused(proven.error())) {
        report.unproven = std::move(proven.error());
        return {};
    }
    return proven;
}

}  // namespace

Result<PageBlobReport> write_page_blob(Image& image, const PageBlobSeams& seams,
                                       const PageBlobOptions& options, const Progress& progress) {
    PageBlobReport out;
    WriteReport& report = out.written;
    report.image_bytes = image.size_bytes();
    const std::uint64_t disk_bytes = vhd_disk_bytes(report.image_bytes);
    report.file_bytes = disk_bytes + vhd_footer_bytes;
    std::uint64_t done = 0;
    const auto show = [&](std::uint64_t at) {
        done = at;
        if (progress) {
            progress(done, report.image_bytes * (options.verify ? 2 : 1));
        }
    };
    PageRequests requests(seams.store, seams.clock, seams.random,
                          {.retry = options.retry,
                           .in_flight_max = options.writes_in_flight,
                           .cancelled = options.cancelled,
                           .waiting = [&] { show(done); },
                           .trouble = options.trouble});
    const PagePlace place{seams.store, requests, options.blob, report.file_bytes};
    CW_TRY(options.existing ? check_size(place, options.verify)
                            : create_blob(seams.store, requests, options, report.file_bytes));
    PageProof proof(place, seams.random);
    PageWrites writes(place, options, proof);
    // A footer of before must not say that the disk is whole, should this end half-way.
    CW_TRY(writes.hole(disk_bytes, vhd_footer_bytes));
    CW_TRY(writes.finish());
    CW_TRY_ASSIGN(report.written_bytes, upload_image(image, requests, writes, show));
    if (disk_bytes > report.image_bytes) {
        CW_TRY(writes.hole(report.image_bytes, disk_bytes - report.image_bytes));
    }
    CW_TRY(writes.finish());  // The footer says that what is before it is whole.
    CW_TRY(writes.write(disk_bytes, vhd_footer(disk_bytes, options.image_id, options.created)));
    CW_TRY(writes.finish());
    report.written_bytes += vhd_footer_bytes;
    CW_TRY(prove(proof, image, options, out, show));
    return out;
}

}  // namespace cw::recovery
