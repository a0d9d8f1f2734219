// A disk that goes to Azure: what is refused for a while is waited for, and nothing else is.
#include "recovery/page_blob_writer.h"

#include "base/clock.h"
#include "recovery/vhd.h"

#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

class FlatImage final : public Image {
public:
    explicit FlatImage(ByteVector content) : content_(std::move(content)) {}
    [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return content_.size(); }
    [[nodiscard]] std::vector<Extent> extents(std::uint64_t, std::uint64_t length,
                                              std::size_t) const override {
        return {{.length = length, .zero = false}};
    }
    void read_later(const std::vector<Wanted>& wanted,
                    std::function<void(Result<void>)> done) override {
        for (const Wanted& one : wanted) {
            std::copy_n(content_.begin() + static_cast<std::ptrdiff_t>(one.offset), one.out.size(),
                        one.out.begin());
        }
        waiting_.push_back(std::move(done));
    }
    std::size_t poll() override {
        const auto now = std::exchange(waiting_, {});
        for (const auto& done : now) {
            done({});
        }
        return now.size();
    }
    void wait(std::int64_t) override {}
    [[nodiscard]] std::uint64_t fetched_bytes() const noexcept override { return 0; }
    [[nodiscard]] std::uint64_t requests() const noexcept override { return 0; }

private:
    ByteVector content_;
    std::vector<std::function<void(Result<void>)>> waiting_;
};

// One disk that waits for its upload. Requests are answered in poll(); time passes in wait().
class OneDisk final : public blob::PageBlobStore {
    template <typename T>
    using Done = blob::Done<T>;

public:
    ByteVector content;
    std::function<std::optional<Error>()> trouble = {};  // What is said instead of doing it.
    unsigned asked = 0;

    OneDisk(ManualClock& clock, std::uint64_t bytes) : content(bytes), clock_(clock) {}

    void create(blob::PageCreate, Done<blob::PutResult> done) override {
        answer(std::move(done), [] {});
    }
    void write(blob::PageWrite request, Done<blob::PutResult> done) override {
        ++asked;
        answer(std::move(done), [this, request] {
            std::ranges::copy(request.bytes,
                              content.begin() + static_cast<std::ptrdiff_t>(request.offset));
        });
    }
    void clear(blob::PageClear request, Done<blob::PutResult> done) override {
        ++asked;
        answer(std::move(done), [this, request] {
            std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(request.offset),
                        request.length, std::byte{});
        });
    }
    void size(blob::PageBlobName, Done<Result<std::uint64_t>> done) override {
        waiting_.emplace_back([this, done = std::move(done)] { done(content.size()); });
    }
    std::size_t poll() override {
        const auto now = std::exchange(waiting_, {});
        for (const auto& one : now) {
            one();
        }
        return now.size();
    }
    void wait(std::int64_t timeout_ns) override { clock_.advance(timeout_ns); }

private:
    void answer(Done<blob::PutResult> done, std::function<void()> apply) {
        waiting_.emplace_back([this, done = std::move(done), apply = std::move(apply)] {
            if (const auto error = trouble ? trouble() : std::nullopt) {
                done({blob::PutOutcome::refused, {}, error});
                return;
            }
            apply();
            done({blob::PutOutcome::stored, "e", {}});
        });
    }

    ManualClock& clock_;
    std::vector<std::function<void()>> waiting_;
};

struct PageBlobWriter : testing::Test {
    static constexpr std::uint64_t disk_bytes = 10 * mib;
    PageBlobWriter() : image(some_bytes()), disk(clock, disk_bytes + vhd_footer_bytes) {}
    static ByteVector some_bytes() {
        ByteVector bytes(disk_bytes);
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            bytes[i] = static_cast<std::byte>(i * 7 + i / 4093);
        }
        return bytes;
    }
    Result<WriteReport> write() { return write_page_blob(image, disk, clock, options, {}); }
    // The store is busy for so long, from now on.
    void busy_for(std::int64_t ns, Errc code) {
        disk.trouble = [this, code, end = clock.boot() + ns]() -> std::optional<Error> {
            return clock.boot() - end < 0 ? std::optional(Error{code, "busy"}) : std::nullopt;
        };
    }

    ManualClock clock;
    FlatImage image;
    OneDisk disk;
    PageBlobOptions options{.blob = {}, .existing = true};
};

TEST_F(PageBlobWriter, WaitsForADiskThatIsThrottledForMinutes) {
    for (const Errc code : {Errc::blob_throttled, Errc::blob_unavailable}) {
        SCOPED_TRACE(name_of(code));
        std::ranges::fill(disk.content, std::byte{0xee});
        disk.asked = 0;
        busy_for(300 * ns_per_s, code);
        const auto written = write();
        ASSERT_TRUE(written) << to_string(written.error());
        EXPECT_TRUE(std::ranges::equal(Bytes(disk.content).first(disk_bytes), some_bytes()));
        EXPECT_LT(disk.asked, 300U) << "it asks ever less often";
    }
}

TEST_F(PageBlobWriter, GivesUpOnADiskThatNeverAnswers) {
    busy_for(INT64_MAX / 2, Errc::blob_throttled);
    const Nanos began = clock.boot();
    const auto written = write();
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Errc::blob_throttled);
    EXPECT_GE(clock.boot() - began, 600 * ns_per_s);
    EXPECT_LT(clock.boot() - began, 660 * ns_per_s);
}

TEST_F(PageBlobWriter, DoesNotWaitWhereTimeChangesNothing) {
    busy_for(INT64_MAX / 2, Errc::blob_denied);
    const Nanos began = clock.boot();
    const auto written = write();
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Errc::blob_denied);
    EXPECT_LT(clock.boot() - began, 5 * ns_per_s);
}

TEST_F(PageBlobWriter, ObeysWhoeverStopsItWhileItWaits) {
    busy_for(INT64_MAX / 2, Errc::blob_throttled);
    const Nanos began = clock.boot();
    options.cancelled = [&] { return clock.boot() - began >= 30 * ns_per_s; };
    const auto written = write();
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Errc::cancelled);
    EXPECT_LT(clock.boot() - began, 31 * ns_per_s);
}

}  // namespace
}  // namespace cw::recovery
