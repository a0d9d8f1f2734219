#include "recovery/segment_index.h"

#include "base/assert.h"

namespace cw::recovery {
namespace {

using vault::segment_header_bytes;
using vault::segment_trailer_bytes;
using vault::SegmentRef;

// Below this a whole object in one request is cheaper than two ranges of it.
constexpr std::uint64_t whole_object_bytes = 128 * kib;

// The two ranges of one segment on their way here.
struct Opening {
    const Catalog& catalog;
    const SegmentRef& ref;
    blob::Done<Result<OpenSegment>> done;
    ByteVector header;
    ByteVector tail;  // Index and trailer.
    unsigned missing = 0;
    bool failed = false;
};

Result<OpenSegment> open_parts(const Opening& parts) {
    const SegmentRef& ref = parts.ref;
    const auto& deks = parts.catalog.keys().deks;
    const auto dek = deks.find(ref.dek_version);
    if (dek == deks.end()) {
        return fail(Errc::key_unavailable, to_string(segment_blob(ref.name)) +
                                               ": the manifests carry no data key " +
                                               std::to_string(ref.dek_version));
    }
    OpenSegment segment;
    segment.ref = &ref;
    segment.crypto = vault::SegmentCrypto::make(parts.catalog.vault().id, ref, dek->second);
    const Bytes tail = parts.tail;
    auto opened = vault::check_segment_header(*segment.crypto, parts.header);
    if (opened) {
        opened = vault::check_segment_trailer(ref, tail.subspan(ref.index_bytes));
    }
    if (opened) {
        auto chunks = vault::open_index(ref, *segment.crypto, tail.first(ref.index_bytes));
        if (chunks) {
            segment.chunks = std::move(*chunks);
            return segment;
        }
        opened = std::unexpected(std::move(chunks).error());
    }
    return std::unexpected(about(ref.name, std::move(opened).error()));
}

void arrived(const std::shared_ptr<Opening>& parts, Result<ByteVector> got,
             void (*take)(Opening&, ByteVector)) {
    if (parts->failed) {
        return;
    }
    if (!got) {
        parts->failed = true;
        parts->done(std::unexpected(std::move(got).error()));
        return;
    }
    take(*parts, std::move(*got));
    if (--parts->missing == 0) {
        parts->done(open_parts(*parts));
    }
}

}  // namespace

Error about(const vault::SegmentName& name, Error error) {
    const std::string object = to_string(segment_blob(name));
    if (!error.detail.starts_with(object)) {
        error.detail = object + (error.detail.empty() ? "" : ": " + error.detail);
    }
    return error;
}

Error blame(const Catalog& catalog, const vault::SegmentName& name, Error error) {
    error = about(name, std::move(error));
    if (error.code == Errc::object_corrupt || error.code == Errc::blob_not_found) {
        error.detail += catalog.affected_by(name);
    }
    return error;
}

void open_segment(Fetcher& fetcher, const Catalog& catalog, const SegmentRef& ref,
                  blob::Done<Result<OpenSegment>> done) {
    const std::uint64_t tail_bytes = ref.index_bytes + segment_trailer_bytes;
    CW_ASSERT(ref.index_offset + tail_bytes == ref.object_bytes);  // check_segment_ref() held.
    const blob::BlobName name = segment_blob(ref.name);
    auto parts =
        std::make_shared<Opening>(Opening{catalog, ref, std::move(done), {}, {}, 0, false});
    if (ref.object_bytes <= whole_object_bytes) {
        parts->missing = 1;
        fetcher.fetch(name, 0, ref.object_bytes, [parts](Result<ByteVector> got) {
            arrived(parts, std::move(got), [](Opening& to, ByteVector bytes) {
                const auto tail = bytes.begin() + static_cast<std::ptrdiff_t>(to.ref.index_offset);
                to.tail.assign(tail, bytes.end());
                bytes.resize(segment_header_bytes);
                to.header = std::move(bytes);
            });
        });
        return;
    }
    parts->missing = 2;
    fetcher.fetch(name, 0, segment_header_bytes, [parts](Result<ByteVector> got) {
        arrived(parts, std::move(got),
                [](Opening& to, ByteVector bytes) { to.header = std::move(bytes); });
    });
    fetcher.fetch(name, ref.index_offset, tail_bytes, [parts](Result<ByteVector> got) {
        arrived(parts, std::move(got),
                [](Opening& to, ByteVector bytes) { to.tail = std::move(bytes); });
    });
}

}  // namespace cw::recovery
