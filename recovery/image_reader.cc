#include "recovery/image_reader.h"

#include "base/assert.h"
#include "recovery/layer_walk.h"

#include <algorithm>
#include <optional>

namespace cw::recovery {
namespace {

constexpr std::size_t download_threads_max = 32;
constexpr std::uint64_t group_bytes_max = 4 * mib;  // Enough for Azure's high-throughput path.
constexpr std::uint64_t group_gap_max = 64 * kib;   // Fetching a gap is cheaper than a request.

}  // namespace

struct ImageReader::Request {
    blob::Done<Result<void>> done;
    std::size_t groups = 0;  // Still on their way.
    std::optional<Error> error;
};

struct ImageReader::Part {
    struct Place {
        std::uint64_t at = 0;  // Within the chunk.
        MutableBytes to;
    };
    std::uint32_t chunk = 0;
    std::vector<Place> places;
};

ImageReader::ImageReader(blob::BlobStore& store, const Catalog& catalog, std::uint64_t disk_bytes,
                         const ReaderOptions& options)
    : catalog_(catalog),
      options_(options),
      map_(disk_bytes),
      fetcher_(store, std::clamp<std::size_t>(options.download_threads, 1, download_threads_max)) {}

ImageReader::~ImageReader() = default;

Result<std::unique_ptr<ImageReader>> ImageReader::open(blob::BlobStore& store,
                                                       const Catalog& catalog,
                                                       const DiskAtPoint& disk,
                                                       const ReaderOptions& options) {
    if (disk.size_bytes == 0) {
        return fail(Errc::object_corrupt,
                    "the manifests give no size for disk " + to_string(disk.disk));
    }
    std::unique_ptr<ImageReader> reader(new ImageReader(store, catalog, disk.size_bytes, options));
    vault::PointEntry::Cut cut;
    cut.disk = disk.disk;
    cut.generation = disk.generation;
    cut.cut = disk.cut;
    CW_TRY(reader->build(cut));
    return reader;
}

Result<void> ImageReader::build(const vault::PointEntry::Cut& cut) {
    const std::size_t ahead = 2 * std::max<std::size_t>(options_.download_threads, 1);
    return walk_layers(fetcher_, catalog_, cut, {.ahead = ahead},
                       [this](OpenSegment segment, const Layer& layer) -> Result<bool> {
                           CW_TRY(lay(std::move(segment), layer));
                           return !map_.complete();
                       });
}

Result<void> ImageReader::lay(OpenSegment segment, const Layer& layer) {
    map_.lay_under(static_cast<std::uint32_t>(segments_.size()), layer, segment.chunks);
    segments_.push_back({segment.ref, std::move(segment.crypto)});
    if (map_.memory_bytes() > options_.memory_bytes) {
        return fail(Errc::out_of_budget, "the chunk map of this point needs more than " +
                                             std::to_string(options_.memory_bytes / mib) + " MiB");
    }
    return {};
}

void ImageReader::start(const std::vector<Wanted>& wanted, blob::Done<Result<void>> done) {
    auto request = std::make_shared<Request>();
    request->done = std::move(done);
    std::vector<Part> parts = parts_of(wanted);
    if (parts.empty()) {
        ready_.push_back(std::move(request));
        return;
    }
    std::ranges::sort(parts, [this](const Part& a, const Part& b) {
        const MappedChunk &x = map_.chunk(a.chunk), &y = map_.chunk(b.chunk);
        return std::tuple(x.segment, x.stored_offset) < std::tuple(y.segment, y.stored_offset);
    });
    std::vector<std::vector<Part>> groups;
    std::uint64_t begin = 0, end = 0;
    std::uint32_t segment = 0;
    for (Part& part : parts) {
        const MappedChunk& chunk = map_.chunk(part.chunk);
        const std::uint64_t chunk_end = std::uint64_t{chunk.stored_offset} + chunk.stored_length;
        const bool joins = !groups.empty() && chunk.segment == segment &&
                           chunk.stored_offset <= end + group_gap_max &&
                           chunk_end - begin <= group_bytes_max;
        if (!joins) {
            groups.emplace_back();
            begin = chunk.stored_offset;
            segment = chunk.segment;
        }
        end = chunk_end;
        groups.back().push_back(std::move(part));
    }
    request->groups = groups.size();  // Before the first starts: none may be the last by mistake.
    for (std::vector<Part>& group : groups) {
        fetch_group(request, std::move(group));
    }
}

// What is wanted of each chunk; holes are filled here and now.
std::vector<ImageReader::Part> ImageReader::parts_of(const std::vector<Wanted>& wanted) const {
    std::map<std::uint32_t, Part> parts;
    for (const Wanted& one : wanted) {
        for (const LayerMap::Piece& piece : map_.pieces(one.offset, one.out.size())) {
            const MutableBytes to = one.out.subspan(piece.offset - one.offset, piece.length);
            if (piece.chunk == LayerMap::zero_chunk) {
                std::ranges::fill(to, std::byte{0});
                continue;
            }
            Part& part = parts[piece.chunk];
            part.chunk = piece.chunk;
            part.places.push_back({piece.offset - map_.chunk(piece.chunk).disk_offset, to});
        }
    }
    std::vector<Part> out;
    out.reserve(parts.size());
    for (auto& [chunk, part] : parts) {
        out.push_back(std::move(part));
    }
    return out;
}

void ImageReader::fetch_group(const std::shared_ptr<Request>& request, std::vector<Part> parts) {
    const MappedChunk& first = map_.chunk(parts.front().chunk);
    const MappedChunk& last = map_.chunk(parts.back().chunk);
    const std::uint64_t begin = first.stored_offset;
    const std::uint64_t length = last.stored_offset + last.stored_length - begin;
    const vault::SegmentName& name = segments_.at(first.segment).ref->name;
    fetcher_.fetch(
        segment_blob(name), begin, length,
        [this, request, parts = std::move(parts)](Result<ByteVector> got) {
            Result<void> opened = got ? open_group(parts, *got)
                                      : Result<void>(std::unexpected(std::move(got).error()));
            if (!opened && !request->error) {
                const auto segment = map_.chunk(parts.front().chunk).segment;
                request->error =
                    blame(catalog_, segments_.at(segment).ref->name, std::move(opened).error());
            }
            if (--request->groups == 0) {
                request->done(request->error ? Result<void>(std::unexpected(*request->error))
                                             : Result<void>{});
            }
        });
}

Result<void> ImageReader::open_group(const std::vector<Part>& parts, Bytes bytes) {
    const std::uint64_t begin = map_.chunk(parts.front().chunk).stored_offset;
    for (const Part& part : parts) {
        const MappedChunk& chunk = map_.chunk(part.chunk);
        const Bytes sealed = bytes.subspan(chunk.stored_offset - begin, chunk.stored_length);
        vault::SegmentCrypto& crypto = *segments_.at(chunk.segment).crypto;
        const MutableBytes first_to = part.places.front().to;  // Places do not overlap.
        if (first_to.size() == chunk.raw_length) {  // Wanted whole: decoded where it belongs.
            CW_TRY(vault::open_chunk(crypto, chunk.fields(), sealed, first_to));
            continue;
        }
        if (scratch_bytes_ < chunk.raw_length) {
            scratch_ = std::make_unique_for_overwrite<std::byte[]>(chunk.raw_length);
            scratch_bytes_ = chunk.raw_length;
        }
        const MutableBytes whole(scratch_.get(), chunk.raw_length);
        CW_TRY(vault::open_chunk(crypto, chunk.fields(), sealed, whole));
        for (const Part::Place& place : part.places) {
            std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(place.at), place.to.size(),
                        place.to.begin());
        }
    }
    return {};
}

std::size_t ImageReader::poll() {
    std::size_t count = fetcher_.poll();
    while (!ready_.empty()) {
        const std::shared_ptr<Request> request = std::move(ready_.back());
        ready_.pop_back();
        request->done({});
        ++count;
    }
    return count;
}

void ImageReader::wait(std::int64_t timeout_ns) {
    if (ready_.empty()) {
        fetcher_.wait(timeout_ns);
    }
}

std::vector<Image::Extent> ImageReader::extents(std::uint64_t offset, std::uint64_t length,
                                                std::size_t count_max) const {
    std::vector<Extent> out;
    for (const LayerMap::Piece& piece : map_.pieces(offset, length)) {
        const bool zero = piece.chunk == LayerMap::zero_chunk;
        if (!out.empty() && out.back().zero == zero) {
            out.back().length += piece.length;
            continue;
        }
        if (out.size() == count_max) {
            break;
        }
        out.push_back({piece.length, zero});
    }
    return out;
}

}  // namespace cw::recovery
