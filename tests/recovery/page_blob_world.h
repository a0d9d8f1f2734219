// What tests of page blobs share: an image in memory, a service that is as bad as it is told to be
// under a clock of its own, and the strict fake with a real client before it.
#pragma once

#include "base/assert.h"
#include "recovery/page_blob_writer.h"
#include "recovery/vhd.h"
#include "tests/fake_azure/fake_azure.h"

#include <algorithm>

namespace cw::recovery {

class FlatImage final : public Image {
public:
    explicit FlatImage(ByteVector bytes) : bytes_(std::move(bytes)) {}
    // Data, a hole of 3 MiB, data.
    static ByteVector holed(std::uint64_t seed, std::uint64_t size = 20 * mib) {
        ByteVector bytes(size);
        make_seeded_random(seed)->fill(bytes);
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(5 * mib), 3 * mib, std::byte{0});
        return bytes;
    }

    [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return bytes_.size(); }
    [[nodiscard]] std::vector<Extent> extents(std::uint64_t, std::uint64_t length,
                                              std::size_t) const override {
        return {{length, false}};
    }
    void read_later(const std::vector<Wanted>& wanted,
                    std::function<void(Result<void>)> done) override {
        for (const Wanted& part : wanted) {
            std::ranges::copy(Bytes(bytes_).subspan(part.offset, part.out.size()),
                              part.out.begin());
        }
        done_ = std::move(done);
    }
    std::size_t poll() override {
        if (const auto done = std::exchange(done_, nullptr)) {
            ++reads_;
            done(reads_ <= failing_ ? Result<void>(fail(Errc::blob_unavailable, "the vault"))
                                    : Result<void>{});
        }
        return 1;
    }
    void wait(std::int64_t) override {}
    [[nodiscard]] std::uint64_t fetched_bytes() const noexcept override { return 0; }
    [[nodiscard]] std::uint64_t requests() const noexcept override { return 0; }

    void fail_reads(unsigned count) { failing_ = count; }
    [[nodiscard]] const ByteVector& bytes() const noexcept { return bytes_; }

private:
    ByteVector bytes_;
    unsigned failing_ = 0, reads_ = 0;
    std::function<void(Result<void>)> done_;
};

// Time passes only while somebody waits, so that quarters of an hour are over at once.
class SlowService final : public blob::PageBlobStore {
public:
    SlowService(ManualClock& clock, std::uint64_t bytes)
        : clock_(clock), bytes_(bytes), pages_(bytes / blob::page_bytes) {}

    Nanos down_from{INT64_MAX}, down_until{};  // Refuses everything within:
    Errc says = Errc::blob_unavailable;
    std::size_t bears = SIZE_MAX;  // Throttles what is more than that at once.
    std::int64_t latency_ns = 20 * ns_per_ms;
    std::optional<std::uint64_t> forgets, damages;  // The write at that offset, though it says 201.
    std::size_t requests = 0, refused = 0;
    Nanos counts_from{};  // What went before does not count:
    std::size_t most_at_once = 0;

    void create(blob::PageCreate, blob::Done<blob::PutResult> done) override {
        add([done] { done({blob::PutOutcome::stored, "e", {}}); },
            [done](Error error) { done({blob::PutOutcome::unknown, {}, std::move(error)}); });
    }
    void write(blob::PageWrite request, blob::Done<blob::PutResult> done) override {
        add(
            [this, request, done] {
                if (request.offset != forgets) {
                    std::ranges::copy(request.bytes,
                                      bytes_.begin() + static_cast<std::ptrdiff_t>(request.offset));
                    mark(request.offset, request.bytes.size(), true);
                }
                if (request.offset == damages) {
                    bytes_[request.offset] ^= std::byte{1};
                }
                done({blob::PutOutcome::stored, "e", {}});
            },
            [done](Error error) { done({blob::PutOutcome::unknown, {}, std::move(error)}); });
    }
    void clear(blob::PageClear request, blob::Done<blob::PutResult> done) override {
        add(
            [this, request, done] {
                std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(request.offset),
                            request.length, std::byte{0});
                mark(request.offset, request.length, false);
                done({blob::PutOutcome::stored, "e", {}});
            },
            [done](Error error) { done({blob::PutOutcome::unknown, {}, std::move(error)}); });
    }
    void size(blob::PageBlobName, blob::Done<Result<std::uint64_t>> done) override {
        add([this, done] { done(bytes_.size()); },
            [done](Error error) { done(std::unexpected(std::move(error))); });
    }
    void ranges(blob::PageRangesRequest request,
                blob::Done<Result<blob::PageRanges>> done) override {
        add(
            [this, request, done] {
                // One range for each answer: as many pages of an answer as can be.
                blob::PageRanges out;
                const std::uint64_t end = request.offset + request.length;
                std::uint64_t at =
                    request.marker.empty() ? request.offset : std::stoull(request.marker);
                while (at < end && !pages_[at / blob::page_bytes]) {
                    at += blob::page_bytes;
                }
                const std::uint64_t begin = at;
                while (at < end && pages_[at / blob::page_bytes]) {
                    at += blob::page_bytes;
                }
                if (begin < at) {
                    out.ranges.push_back({begin, at - begin});
                }
                out.next = at < end ? std::to_string(at) : "";
                done(std::move(out));
            },
            [done](Error error) { done(std::unexpected(std::move(error))); });
    }
    void read(blob::PageRead request, blob::Done<Result<ByteVector>> done) override {
        add(
            [this, request, done] {
                const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(request.offset);
                done(ByteVector(begin, begin + static_cast<std::ptrdiff_t>(request.length)));
            },
            [done](Error error) { done(std::unexpected(std::move(error))); });
    }
    std::size_t poll() override {
        std::vector<std::function<void()>> due;
        std::erase_if(flying_, [&](Flying& one) {
            const bool over = clock_.boot() - one.due >= 0;
            if (over) {
                due.push_back(std::move(one.answer));
            }
            return over;
        });
        std::ranges::for_each(due, [](const auto& answer) { answer(); });
        return due.size();
    }
    void wait(std::int64_t timeout_ns) override {
        for (const Flying& one : flying_) {
            timeout_ns = std::min(timeout_ns, std::max<std::int64_t>(one.due - clock_.boot(), 0));
        }
        clock_.advance(std::max<std::int64_t>(timeout_ns, 1));
    }
    [[nodiscard]] const ByteVector& bytes() const noexcept { return bytes_; }

private:
    struct Flying {
        Nanos due;
        std::function<void()> answer;
    };
    void mark(std::uint64_t offset, std::uint64_t length, bool there) {
        for (std::uint64_t at = offset; at < offset + length; at += blob::page_bytes) {
            pages_[at / blob::page_bytes] = there;
        }
    }
    void add(std::function<void()> good, std::function<void(Error)> bad) {
        ++requests;
        const Nanos now = clock_.boot();
        if (now - counts_from >= 0) {
            most_at_once = std::max(most_at_once, flying_.size() + 1);
        }
        const bool down = now - down_from >= 0 && now - down_until < 0;
        if (down || flying_.size() >= bears) {
            ++refused;
            good = [this, bad, down] { bad({down ? says : Errc::blob_throttled, "status 500"}); };
        }
        flying_.push_back({now + latency_ns, std::move(good)});
    }

    ManualClock& clock_;
    ByteVector bytes_;
    std::vector<bool> pages_;
    std::vector<Flying> flying_;
};

}  // namespace cw::recovery
