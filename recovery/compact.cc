#include "recovery/compact.h"

#include "base/assert.h"
#include "base/crash_point.h"
#include "egress/vault/names.h"
#include "recovery/segment_index.h"

#include <algorithm>
#include <optional>

namespace cw::recovery {
namespace {

using vault::Chunk;
using vault::SegmentRef;

// Neighbouring chunks are fetched as one range.
constexpr std::uint64_t range_bytes_max = 4 * mib, gap_bytes_max = 128 * kib;

template <typename T>
Result<T> wait_for(Fetcher& fetcher, std::optional<Result<T>>& slot) {
    while (!slot) {
        fetcher.wait(fetch_wait_slice_ns);
        fetcher.poll();
    }
    return std::move(*slot);
}

// One chunk on its way from an old segment into the new one.
struct Moved {
    Chunk fields;
    ByteVector plain;  // Still compressed.
};

class Compactor {
public:
    Compactor(blob::BlobStore& store, Fetcher& fetcher, const Catalog& catalog, Random& random)
        : store_(store), fetcher_(fetcher), catalog_(catalog), random_(random) {}

    Result<SegmentRef> run(const Rewrite& rewrite) {
        for (std::size_t i = 0; i < rewrite.from.size(); ++i) {
            CW_TRY(collect(*rewrite.from[i], rewrite.visible[i]));
        }
        // Segments came in their order, chunks of one in ordinal order: what is equal stays so.
        std::ranges::stable_sort(moved_, {}, [](const Moved& m) { return m.fields.last_seq; });
        return seal(new_ref(rewrite));
    }

private:
    Result<void> collect(const SegmentRef& ref, const std::vector<bool>& visible) {
        std::optional<Result<OpenSegment>> slot;
        open_segment(fetcher_, catalog_, ref,
                     [&slot](Result<OpenSegment> opened) { slot.emplace(std::move(opened)); });
        CW_TRY_ASSIGN(const OpenSegment segment, wait_for(fetcher_, slot));
        CW_ASSERT(visible.size() == segment.chunks.size());
        std::vector<const Chunk*> range;
        for (const Chunk& chunk : segment.chunks) {
            if (!visible[chunk.ordinal]) {
                continue;
            }
            if (!has_bytes(chunk.codec)) {
                moved_.push_back({chunk, {}});
                continue;
            }
            const bool joins =
                range.empty() || (chunk.stored_offset - end_of(*range.back()) <= gap_bytes_max &&
                                  end_of(chunk) - range.front()->stored_offset <= range_bytes_max);
            if (!joins) {
                CW_TRY(fetch(segment, range));
                range.clear();
            }
            range.push_back(&chunk);
        }
        return range.empty() ? Result<void>{} : fetch(segment, range);
    }

    static std::uint64_t end_of(const Chunk& chunk) {
        return chunk.stored_offset + chunk.stored_length;
    }

    Result<void> fetch(const OpenSegment& segment, const std::vector<const Chunk*>& range) {
        const std::uint64_t begin = range.front()->stored_offset;
        std::optional<Result<ByteVector>> slot;
        fetcher_.fetch(segment_blob(segment.ref->name), begin, end_of(*range.back()) - begin,
                       [&slot](Result<ByteVector> got) { slot.emplace(std::move(got)); });
        CW_TRY_ASSIGN(const ByteVector bytes, wait_for(fetcher_, slot));
        for (const Chunk* const chunk : range) {
            const Bytes sealed =
                Bytes(bytes).subspan(chunk->stored_offset - begin, chunk->stored_length);
            Moved moved{*chunk, ByteVector(chunk->stored_length)};
            const auto opened = segment.crypto->open(*chunk, std::span(&sealed, 1), chunk->tag,
                                                     MutableBytes(moved.plain));
            if (!opened) {
                return std::unexpected(about(segment.ref->name, opened.error()));
            }
            moved_.push_back(std::move(moved));
        }
        return {};
    }

    SegmentRef new_ref(const Rewrite& rewrite) {
        const vault::ChainState& state = catalog_.state();
        SegmentRef ref;
        ref.name = rewrite.from.front()->name;
        ref.name.epoch = state.newest.epoch;
        ref.base = rewrite.from.front()->base;
        for (const SegmentRef* const from : rewrite.from) {
            CW_ASSERT(from->base == ref.base && from->name.disk == ref.name.disk &&
                      from->name.generation == ref.name.generation);
            ref.name.first_seq = std::min(ref.name.first_seq, from->name.first_seq);
            ref.last_seq = std::max(ref.last_seq, from->last_seq);
        }
        random_.fill(ref.name.attempt);
        random_.fill(ref.segment_id);
        random_.fill(ref.salt);
        CW_ASSERT(!state.deks.empty());
        ref.dek_version = state.deks.rbegin()->first;
        for (const Moved& moved : moved_) {
            ref.raw_bytes += moved.fields.raw_length;
        }
        return ref;
    }

    [[nodiscard]] std::size_t stored_bytes() const {
        std::size_t sum = 0;
        for (const Moved& moved : moved_) {
            sum += moved.plain.size();
        }
        return sum;
    }

    Result<SegmentRef> seal(SegmentRef ref) {
        const auto crypto = vault::SegmentCrypto::make(catalog_.vault().id, ref,
                                                       catalog_.keys().deks.at(ref.dek_version));
        const auto header = crypto->header();
        ByteVector object;
        object.reserve(header.size() + stored_bytes());
        object.assign(header.begin(), header.end());
        std::vector<Chunk> chunks;
        for (Moved& moved : moved_) {
            Chunk chunk = std::move(moved.fields);
            chunk.ordinal = static_cast<std::uint32_t>(chunks.size());
            if (has_bytes(chunk.codec)) {
                chunk.stored_offset = object.size();
                object.resize(object.size() + moved.plain.size());
                const MutableBytes cipher = MutableBytes(object).last(moved.plain.size());
                chunk.tag = crypto->seal(chunk, moved.plain, std::span(&cipher, 1));
                moved.plain = {};
            }
            chunks.push_back(std::move(chunk));
        }
        vault::SegmentTail tail = finish_segment(std::move(ref), *crypto, chunks, object.size());
        const blob::BlobName name = segment_blob(tail.ref.name);
        CW_CRASH_POINT("compact.before_put");
        blob::PutResult put =
            blob::put_and_wait(store_, {.name = name,
                                        .body = {object, tail.bytes},
                                        .condition = blob::PutCondition::if_absent});
        if (put.outcome != blob::PutOutcome::stored) {
            return std::unexpected(about(
                tail.ref.name, put.error.value_or(Error{Errc::blob_unavailable, "no answer"})));
        }
        CW_CRASH_POINT("compact.stored");
        return std::move(tail.ref);
    }

    blob::BlobStore& store_;
    Fetcher& fetcher_;
    const Catalog& catalog_;
    Random& random_;
    std::vector<Moved> moved_;
};

}  // namespace

Result<vault::SegmentRef> compact(blob::BlobStore& store, Fetcher& fetcher, const Catalog& catalog,
                                  const Rewrite& rewrite, Random& random) {
    CW_ASSERT(!rewrite.from.empty() && rewrite.from.size() == rewrite.visible.size());
    return Compactor(store, fetcher, catalog, random).run(rewrite);
}

}  // namespace cw::recovery
