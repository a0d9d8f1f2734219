// Whether an image is as a killed agent left it.
#include "agent/scan/image_witness.h"

#include <filesystem>
#include <functional>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::agent {
namespace {

// A file whose times the test sets.
class StampedImage final : public BlockImage {
public:
    explicit StampedImage(std::optional<FileStamp>& stamp) : stamp_(stamp) {}
    std::uint64_t size() const noexcept override { return 1 << 20; }
    Result<void> read(std::uint64_t /*offset*/, MutableBytes /*out*/) override { return {}; }
    Result<void> write(std::uint64_t /*offset*/, Bytes /*bytes*/) override {
        on_write();
        return {};
    }
    Result<void> zero(std::uint64_t /*offset*/, std::uint64_t /*length*/, bool /*unmap*/) override {
        on_write();
        return {};
    }
    Result<void> flush() override { return {}; }
    std::string fingerprint() const override { return {}; }
    std::optional<FileStamp> stamp() const override { return stamp_; }

    std::function<void()> on_write = [] {};

private:
    std::optional<FileStamp>& stamp_;
};

class ImageWitness : public testing::Test {
protected:
    ImageWitness() : page_(testing::TempDir() + "cw_witness_" + std::to_string(::getpid())) {
        auto image = std::make_unique<StampedImage>(stamp_);
        beneath_ = image.get();
        image_ = witness_writes(std::move(image), page_, clock_).value();
    }
    ~ImageWitness() override {
        std::filesystem::remove(page_);
        std::filesystem::remove(page_ + ".killed");
    }
    std::int64_t now_ns() { return static_cast<std::int64_t>(clock_.wall()) * ns_per_us; }
    // A write during which the file's time is set, and what a kill in the middle of it leaves.
    void write(std::int64_t modified_ns) {
        beneath_->on_write = [this, modified_ns] {
            std::filesystem::copy_file(page_, page_ + ".killed",
                                       std::filesystem::copy_options::overwrite_existing);
            stamp_->modified_ns = modified_ns;
        };
        ASSERT_TRUE(image_->write(0, Bytes()).has_value());
    }
    bool holds() { return left_by_agent(StampedImage(stamp_), page_); }
    bool holds_after_kill_in_write() {
        return left_by_agent(StampedImage(stamp_), page_ + ".killed");
    }

    ManualClock clock_;
    const std::string page_;
    std::optional<FileStamp> stamp_ = FileStamp{7, 1};
    StampedImage* beneath_ = nullptr;
    std::unique_ptr<BlockImage> image_;
};

TEST_F(ImageWitness, BelievesAFileThatNobodyTouchedSinceTheLastWrite) {
    EXPECT_TRUE(holds());  // Nothing was written yet.
    write(now_ns());
    EXPECT_TRUE(holds());
    clock_.advance(3600 * ns_per_s);
    EXPECT_TRUE(holds());
}

TEST_F(ImageWitness, SeesAnotherWriterAndAnotherFile) {
    write(now_ns());
    stamp_->modified_ns += 1;
    EXPECT_FALSE(holds());
    stamp_->modified_ns -= 1;
    EXPECT_TRUE(holds());
    stamp_->inode = 8;
    EXPECT_FALSE(holds());
}

TEST_F(ImageWitness, BelievesTheWriteInWhichTheAgentWasKilledAndNoOther) {
    write(now_ns());
    clock_.advance(60 * ns_per_s);
    const std::int64_t began = now_ns();
    write(began - 4 * ns_per_ms);  // The kernel's last tick.
    EXPECT_TRUE(holds_after_kill_in_write());
    stamp_->modified_ns = began + 60 * ns_per_s;
    EXPECT_FALSE(holds_after_kill_in_write());
    stamp_->modified_ns = began - 30 * ns_per_s;
    EXPECT_FALSE(holds_after_kill_in_write());
    stamp_->modified_ns = began - 60 * ns_per_s;  // It had not begun to change the file.
    EXPECT_TRUE(holds_after_kill_in_write());
}

TEST_F(ImageWitness, DoesNotBelieveWithoutItsPageOrWithADamagedOne) {
    EXPECT_FALSE(left_by_agent(StampedImage(stamp_), page_ + ".absent"));
    std::filesystem::resize_file(page_, 8);
    EXPECT_FALSE(holds());
    std::filesystem::resize_file(page_, 0);
    std::filesystem::resize_file(page_, 4096);
    EXPECT_FALSE(holds());
}

TEST_F(ImageWitness, BelievesADeviceBecauseItCannotTell) {
    stamp_.reset();
    EXPECT_TRUE(left_by_agent(StampedImage(stamp_), page_ + ".absent"));
}

}  // namespace
}  // namespace cw::agent
