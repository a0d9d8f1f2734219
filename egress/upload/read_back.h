// ReadBack: reads an object that was just stored and compares it with what was sent. A store that
// answers with the right checksum and keeps other bytes is found while the original still lies in
// the cache. In parts, so that it costs little memory; one object at a time.
//
// Thread-safety: none; the thread of its store, in whose poll() `done` runs.
#pragma once

#include "egress/blob/store.h"

namespace cw::upload {

class ReadBack {
public:
    static constexpr std::uint64_t part_bytes = 4ULL << 20;
    struct Target {
        blob::BlobName name;
        std::string etag;
        std::uint64_t bytes = 0, crc64 = 0;
    };

    // `store` outlives it and has no callbacks left when it goes.
    explicit ReadBack(blob::BlobStore& store) : store_(store) {}
    [[nodiscard]] bool busy() const noexcept { return done_ != nullptr; }
    // Not while busy. Errors of `done`: object_corrupt (other bytes, another length, or nothing is
    // there). A store that cannot be read says nothing: success.
    void start(Target target, blob::Done<Result<void>> done);

private:
    void next_part();
    void take(const Result<blob::GetResult>& part);
    void finish(Result<void> outcome);

    blob::BlobStore& store_;
    Target target_;
    blob::Done<Result<void>> done_;
    std::uint64_t at_ = 0, crc64_ = 0;
};

}  // namespace cw::upload
