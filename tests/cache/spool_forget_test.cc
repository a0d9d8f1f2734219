// A machine that an operator gives up: what the cache lost of it is not waited for any more.
#include "cache/spool_format.h"
#include "tests/cache/spool_stage_fixture.h"

namespace cw::cache::testing {
namespace {

const std::string log_file = std::string(directory) + "/spool.log";

class SpoolForgetTest : public SpoolStageTest {
protected:
    // Where they begin, in their order.
    std::vector<std::uint64_t> batches() {
        const ByteVector bytes = storage_.contents(log_file);
        std::vector<std::uint64_t> out;
        for (std::uint64_t at = region_bytes; at < bytes.size(); at += block_bytes) {
            const auto header = decode_batch_header(Bytes(bytes).subspan(at));
            if (header && header->offset == at) {
                out.push_back(at);
            }
        }
        return out;
    }
};

// Its agent never comes back: nobody else can end what stands for it.
TEST_F(SpoolForgetTest, A2ALossOfAForgottenMachineEndsForEveryLaterStart) {
    open(SessionId{1});
    for (std::uint64_t seq = 1; seq <= 4; ++seq) {
        send(make_write(key_, Seq{seq}, 2));
        run();  // A batch each.
    }
    ASSERT_EQ(stored().size(), 4U);
    storage_.kill();
    storage_.overwrite(log_file, batches().at(1), ByteVector(block_bytes));
    for (int starts = 0; starts < 2; ++starts) {
        restart();
        ASSERT_TRUE(process_->conditions->standing(Errc::spool_lost_durable));
        storage_.kill();
    }
    restart();
    run();
    stage_->forget_machine(make_key(2, 1).machine);  // Another one: nothing of this ends.
    run();
    ASSERT_TRUE(process_->conditions->standing(Errc::spool_lost_durable));
    pipeline::Release release;
    for (const StoredRecord& one : stored()) {
        release.lsns.push_back(one.lsn);
    }
    ASSERT_EQ(release.lsns.size(), 3U);
    ASSERT_TRUE(releases_.try_push(release));
    stage_->forget_machine(key_.machine);
    run();
    // Shown for a while, as it is not known whose all of the lost bytes were; then written down.
    for (int minute = 0; minute < 2; ++minute) {
        clock_.advance(60 * ns_per_s);
        run();
    }
    EXPECT_FALSE(process_->conditions->standing(Errc::spool_lost_durable));
    EXPECT_TRUE(process_->spool->stream_table().all().empty());
    for (int starts = 0; starts < 2; ++starts) {
        storage_.kill();
        restart();
        EXPECT_TRUE(process_->spool->damaged().empty());
        EXPECT_FALSE(process_->conditions->standing(Errc::spool_lost_durable));
        EXPECT_TRUE(process_->recovered().empty());
    }
}

// Its records may not go on as if nothing had been forgotten, and what comes again is no
// repetition.
TEST_F(SpoolForgetTest, WhatTheSessionOfAForgottenMachineStillSendsIsDroppedUntilItOpensAgain) {
    open(SessionId{1});
    send(make_write(key_, Seq{1}, 2));
    send(make_point(1, Seq{1}));
    run();
    ASSERT_EQ(stored().size(), 2U);
    stage_->forget_machine(key_.machine);
    send(make_write(key_, Seq{2}, 2));
    run();
    EXPECT_TRUE(stored().empty());
    open(SessionId{2});
    send(make_write(key_, Seq{1}, 2), SessionId{2});
    send(make_point(1, Seq{1}), SessionId{2});
    run();
    EXPECT_EQ(stored().size(), 2U);
}

}  // namespace
}  // namespace cw::cache::testing
