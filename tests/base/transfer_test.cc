// How one disk request is carried through the pieces and interruptions the kernel may answer with.
#include "base/disk_system.h"
#include "base/ids.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace cw {
namespace {

class TransferTest : public testing::Test {
protected:
    void begin(DiskOp op, bool direct) {
        file_ = std::make_unique<SystemFile>(Fd(), direct);
        request_ = {.op = op, .file = file_.get(), .offset = 8 * block_bytes};
        request_.parts = parts_.data();
        request_.part_count = op == DiskOp::sync ? 0 : static_cast<unsigned>(parts_.size());
        request_.done = [](DiskRequest&) {};
        transfer_.begin(request_);
    }
    [[nodiscard]] std::size_t remaining() const {
        std::size_t sum = 0;
        for (unsigned i = 0; i < transfer_.part_count(); ++i) {
            sum += transfer_.parts()[i].iov_len;
        }
        return sum;
    }
    alignas(block_bytes) std::array<std::byte, 4 * block_bytes> memory_{};
    std::array<iovec, 2> parts_{iovec{memory_.data(), block_bytes},
                                iovec{memory_.data() + block_bytes, 3 * block_bytes}};
    std::unique_ptr<SystemFile> file_;
    DiskRequest request_;
    Transfer transfer_;
};

TEST_F(TransferTest, EndsWhenEverythingMovedAtOnce) {
    begin(DiskOp::write, false);
    EXPECT_TRUE(transfer_.advance(4 * block_bytes));
    EXPECT_EQ(request_.result, static_cast<std::int64_t>(4 * block_bytes));
}

TEST_F(TransferTest, B12_GoesOnAfterAShortWriteWithExactlyTheRest) {
    begin(DiskOp::write, false);
    EXPECT_FALSE(transfer_.advance(1000));
    EXPECT_EQ(transfer_.offset(), 8 * block_bytes + 1000);
    EXPECT_EQ(transfer_.parts()[0].iov_base, memory_.data() + 1000);
    EXPECT_EQ(remaining(), 4 * block_bytes - 1000);
    EXPECT_FALSE(transfer_.advance(5000));  // Into the second part: the first is gone.
    EXPECT_EQ(transfer_.part_count(), 1U);
    EXPECT_EQ(transfer_.parts()[0].iov_base, memory_.data() + 6000);
    EXPECT_TRUE(transfer_.advance(static_cast<std::int64_t>(4 * block_bytes - 6000)));
    EXPECT_EQ(request_.result, static_cast<std::int64_t>(4 * block_bytes));
}

TEST_F(TransferTest, AShortDirectWriteGoesBackToTheStartOfTheBrokenBlock) {
    begin(DiskOp::write, true);
    EXPECT_FALSE(transfer_.advance(block_bytes + 512));
    EXPECT_EQ(transfer_.offset(), 9 * block_bytes);
    EXPECT_EQ(remaining(), 3 * block_bytes);
}

TEST_F(TransferTest, AShortDirectReadInsideABlockIsTheEndOfTheFile) {
    begin(DiskOp::read, true);
    EXPECT_TRUE(transfer_.advance(block_bytes + 512));
    EXPECT_EQ(request_.result, static_cast<std::int64_t>(block_bytes + 512));
}

TEST_F(TransferTest, AReadThatMovesNothingIsTheEndOfTheFile) {
    begin(DiskOp::read, false);
    EXPECT_FALSE(transfer_.advance(100));
    EXPECT_TRUE(transfer_.advance(0));
    EXPECT_EQ(request_.result, 100);
}

TEST_F(TransferTest, AWriteThatMovesNothingIsAnError) {
    begin(DiskOp::write, false);
    EXPECT_FALSE(transfer_.advance(100));
    EXPECT_TRUE(transfer_.advance(0));
    EXPECT_EQ(request_.result, -EIO);
}

TEST_F(TransferTest, TriesAgainAfterAnInterruptionButNotForEver) {
    for (const int interruption : {-EINTR, -EAGAIN}) {
        begin(DiskOp::write, false);
        EXPECT_FALSE(transfer_.advance(interruption));
        EXPECT_EQ(remaining(), 4 * block_bytes);
        int tries = 1;
        while (!transfer_.advance(interruption)) {
            ASSERT_LT(++tries, 10'000);
        }
        EXPECT_EQ(request_.result, interruption);
    }
}

TEST_F(TransferTest, B12_ACancelledOperationIsNeverASuccess) {
    for (const DiskOp op : {DiskOp::read, DiskOp::write, DiskOp::sync}) {
        begin(op, false);
        EXPECT_TRUE(transfer_.advance(-ECANCELED));
        EXPECT_EQ(request_.result, -ECANCELED);
    }
    begin(DiskOp::write, false);
    EXPECT_FALSE(transfer_.advance(100));  // Not even when a part of it had been written.
    EXPECT_TRUE(transfer_.advance(-ECANCELED));
    EXPECT_EQ(request_.result, -ECANCELED);
}

TEST_F(TransferTest, ASyncEndsWithTheFirstAnswer) {
    begin(DiskOp::sync, false);
    EXPECT_TRUE(transfer_.advance(0));
    EXPECT_EQ(request_.result, 0);
    begin(DiskOp::sync, false);
    EXPECT_TRUE(transfer_.advance(-EIO));
    EXPECT_EQ(request_.result, -EIO);
}

TEST_F(TransferTest, MisalignedDirectRequestsAreOurOwnBug) {
    parts_[0].iov_len = 100;
    EXPECT_DEATH(begin(DiskOp::write, true), "invariant broken");
}

}  // namespace
}  // namespace cw
