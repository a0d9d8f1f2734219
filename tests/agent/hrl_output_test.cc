// Epochs of a disk as replica logs: what they lead to, and what becomes of the chain when
// something goes wrong.
#include "agent/hrl/hrl_output.h"

#include "agent/hrl/hrl_reader.h"
#include "tests/fakes/sim_disk.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

namespace cw::agent::test {
namespace {

constexpr std::uint64_t disk_bytes = 1 * mib + 3 * sector_bytes;

class HrlOutputs : public testing::Test {
protected:
    HrlOutputs() {
        random_->fill(MutableBytes(image_).first(disk_bytes / 2));
        EXPECT_TRUE(disk_->create_directories("/state"));
        EXPECT_TRUE(disk_->sync_directory("/"));
        open();
    }
    void open(std::uint64_t bytes_max = gib) {
        output_.reset();
        output_ = HrlOutput::open({.directory = "/logs",
                                   .state_path = "/state/hrl.disk",
                                   .disk_bytes = disk_bytes,
                                   .bytes_max = bytes_max},
                                  {*disk_, clock_, *random_})
                      .value();
    }
    // The guest writes somewhere: the blocks that a bitmap would name.
    BlockSet change() {
        BlockSet dirty;
        for (int i = 0; i < 3; ++i) {
            const std::uint64_t length = sector_bytes * (1 + random_->below(40));
            const std::uint64_t offset =
                random_->below((disk_bytes - length) / sector_bytes) * sector_bytes;
            random_->fill(MutableBytes(image_).subspan(offset, length));
            dirty.add_range(offset, length);
        }
        return dirty;
    }
    void feed(const BlockSet& blocks) {
        for (std::uint64_t block = 0; block * map_block_bytes < disk_bytes; ++block) {
            if (blocks.test(block)) {
                const std::uint64_t at = block * map_block_bytes;
                output_->write(
                    at, Bytes(image_).subspan(at, std::min(map_block_bytes, disk_bytes - at)));
            }
        }
    }
    // An epoch of `dirty`; how many bytes were asked for besides.
    std::uint64_t epoch(const BlockSet& dirty, bool point = true) {
        clock_.advance(ns_per_s);
        const BlockSet more = output_->begin(dirty, clock_.wall());
        feed(dirty);
        feed(more);
        noted_ = true;
        if (point) {
            noted_ = output_->commit();
        } else {
            output_->abandon();
        }
        return more.bytes();
    }
    std::vector<std::string> files() { return disk_->list("/logs").value(); }
    // What the chain from its beginning leads to; every log must be part of it.
    ByteVector applied() {
        std::map<HrlId, std::string> next;
        for (const std::string& name : files()) {
            const auto log = HrlReader::open(*disk_, "/logs/" + name, true);
            EXPECT_TRUE(log) << name;
            EXPECT_TRUE(name.ends_with(".hrl")) << name;
            EXPECT_TRUE(next.emplace(log->header().previous, name).second) << "a fork";
        }
        ByteVector out(disk_bytes);
        HrlId at{};
        for (std::size_t i = 0; i < next.size(); ++i) {
            const auto found = next.find(at);
            if (found == next.end()) {
                ADD_FAILURE() << "a hole after " << hrl_id_text(at);
                break;
            }
            auto log = HrlReader::open(*disk_, "/logs/" + found->second, true).value();
            for (auto piece = log.next(disk_bytes).value(); piece;
                 piece = log.next(disk_bytes).value()) {
                std::ranges::copy(piece->data,
                                  out.begin() + static_cast<std::ptrdiff_t>(piece->offset));
            }
            at = log.header().id;
        }
        EXPECT_EQ(at, output_->last());
        return out;
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(11);
    fakes::SimStorage storage_{11};
    std::unique_ptr<Disk> disk_ = storage_.make_disk();
    ByteVector image_ = ByteVector(disk_bytes);
    std::unique_ptr<HrlOutput> output_;
    bool noted_ = true;
};

TEST_F(HrlOutputs, LogsOfAllEpochsLeadFromZerosToTheDisk) {
    EXPECT_EQ(epoch({}), 17 * map_block_bytes);  // The first log holds all of it,
    EXPECT_TRUE(applied() == image_);
    const std::string first = "/logs/" + files().front();
    EXPECT_LT(storage_.size_of(first), disk_bytes * 3 / 4);  // but for the zeros.
    for (int i = 0; i < 8; ++i) {
        EXPECT_EQ(epoch(change()), 0U);
        ASSERT_TRUE(applied() == image_) << i;
    }
    EXPECT_EQ(files().size(), 9U);
    EXPECT_EQ(epoch({}), 0U);  // Nothing changed: the last log's image is this one.
    EXPECT_EQ(files().size(), 9U);
}

// A log's header knows seconds only.
TEST_F(HrlOutputs, NamesOfOneSecondSortAsTheChain) {
    epoch({});
    for (int i = 0; i < 20; ++i) {
        if (i == 10) {
            open();  // Over a restart too.
        }
        const BlockSet dirty = change();
        (void)output_->begin(dirty, clock_.wall());
        feed(dirty);
        ASSERT_TRUE(output_->commit());
    }
    auto names = files();
    ASSERT_EQ(names.size(), 21U);
    std::ranges::sort(names);
    HrlId at{};
    for (const std::string& name : names) {
        const auto log = HrlReader::open(*disk_, "/logs/" + name, true);
        ASSERT_TRUE(log) << name;
        EXPECT_EQ(log->header().previous, at) << name;
        at = log->header().id;
    }
    EXPECT_TRUE(applied() == image_);
}

// As an agent wrote it before names had a place in the chain.
TEST_F(HrlOutputs, StateWithoutAPlaceIsGoneOnWith) {
    epoch({});
    const HrlId before = output_->last();
    const std::string text = hrl_id_text(before) + " " + std::to_string(disk_bytes);
    ASSERT_TRUE(write_file_atomically(*disk_, "/state/hrl.disk", as_bytes(text)));
    open();
    EXPECT_EQ(output_->last(), before);
    EXPECT_EQ(epoch(change()), 0U);
    EXPECT_TRUE(applied() == image_);
    for (const char* const bad : {" ", " 1x", " 1 ", " 1 2 3", " 1 2 3 behind"}) {
        ASSERT_TRUE(
            write_file_atomically(*disk_, "/state/hrl.disk", as_bytes(hrl_id_text(before) + bad)));
        const auto opened = HrlOutput::open({.directory = "/logs",
                                             .state_path = "/state/hrl.disk",
                                             .disk_bytes = disk_bytes,
                                             .bytes_max = gib},
                                            {*disk_, clock_, *random_});
        ASSERT_FALSE(opened) << bad;
        EXPECT_EQ(opened.error().code, Errc::record_corrupt) << bad;
    }
}

TEST_F(HrlOutputs, EpochWithoutAPointLeavesNoFile) {
    epoch({});
    const BlockSet dirty = change();
    epoch(dirty, false);
    EXPECT_EQ(files().size(), 1U);
    BlockSet both = change();  // QEMU gives a failed epoch's bitmap to the next.
    both.merge(dirty);
    EXPECT_EQ(epoch(both), 0U);
    EXPECT_TRUE(applied() == image_);
    EXPECT_EQ(files().size(), 2U);
}

TEST_F(HrlOutputs, ChainGoesOnOverARestart) {
    epoch({});
    epoch(change());
    const HrlId before = output_->last();
    open();
    EXPECT_EQ(output_->last(), before);
    ASSERT_TRUE(output_->changed(change()));  // What the bitmaps recorded meanwhile.
    EXPECT_GT(epoch(change()), 0U);
    EXPECT_TRUE(applied() == image_);
    EXPECT_EQ(files().size(), 3U);
}

TEST_F(HrlOutputs, WhatAKilledAgentAloneKnewOfMakesTheNextLogWhole) {
    epoch({});
    ASSERT_TRUE(output_->changed(change()));
    open();  // The bitmaps say nothing of it any more.
    EXPECT_EQ(epoch({}), 17 * map_block_bytes);
    EXPECT_TRUE(applied() == image_);
}

TEST_F(HrlOutputs, OfAFullDiskSaysWhichDiskThatIsAndCatchesUpWhenThereIsRoom) {
    epoch({});
    const std::uint64_t used = UINT64_MAX - disk_->free_bytes("/").value();
    constexpr std::uint64_t for_state = 256;
    const std::pair<std::uint64_t, std::string> cases[] = {
        {0, "that of /state, where hrl.disk is written"}, {for_state, "that of /logs, where"}};
    for (const auto& [room, place] : cases) {
        storage_.plan().capacity_bytes = used + room;
        epoch(change());
        ASSERT_TRUE(output_->trouble());
        EXPECT_EQ(output_->trouble()->code, Errc::disk_full);
        EXPECT_TRUE(output_->trouble()->detail.starts_with(place)) << output_->trouble()->detail;
    }
    storage_.plan().capacity_bytes = UINT64_MAX;
    epoch(change());
    EXPECT_FALSE(output_->trouble());
    EXPECT_TRUE(applied() == image_);
}

TEST_F(HrlOutputs, WritesNothingBeyondItsQuotaAndCatchesUpWhenThereIsRoom) {
    open(2 * mib);
    epoch({});
    for (int i = 0; i < 40 && !output_->trouble(); ++i) {
        epoch(change());
    }
    ASSERT_TRUE(output_->trouble());
    EXPECT_EQ(output_->trouble()->code, Errc::out_of_budget);
    std::uint64_t used = 0;
    for (const std::string& name : files()) {
        used += storage_.size_of("/logs/" + name);
    }
    EXPECT_LE(used, 2 * mib + 64 * kib);  // Headers are not counted beforehand.
    const std::size_t count = files().size();
    epoch(change());
    EXPECT_EQ(files().size(), count);
    open(gib);
    EXPECT_GT(epoch(change()), 0U);
    EXPECT_FALSE(output_->trouble());
    EXPECT_TRUE(applied() == image_);
}

TEST_F(HrlOutputs, DiskOfAnotherSizeBeginsAnotherChain) {
    epoch({});
    storage_.overwrite("/state/hrl.disk", 37, as_bytes(std::string_view("9")));
    open();
    EXPECT_EQ(output_->last(), HrlId{});
    storage_.overwrite("/state/hrl.disk", 0, as_bytes(std::string_view("?")));
    const auto opened = HrlOutput::open({.directory = "/logs",
                                         .state_path = "/state/hrl.disk",
                                         .disk_bytes = disk_bytes,
                                         .bytes_max = gib},
                                        {*disk_, clock_, *random_});
    EXPECT_EQ(opened.error().code, Errc::record_corrupt);
}

// Kills and power cuts between any two epochs and failing writes and renames within them: a log is
// whole, in the chain, and the chain leads to the disk at its last epoch.
TEST_F(HrlOutputs, ChainHasNoHoleWhateverFailsBetween) {
    epoch({});
    ASSERT_TRUE(disk_->sync_directory("/"));
    std::size_t troubles = 0, cuts = 0;
    BlockSet bitmap;  // QEMU's: until an epoch is settled.
    for (int round = 0; round < 100; ++round) {
        const bool faulty = random_->below(3) == 0;
        storage_.plan().metadata_error = faulty ? 2000 : 0;
        storage_.plan().write_error = faulty ? 500 : 0;
        storage_.plan().sync_error = faulty ? 500 : 0;
        bitmap.merge(change());
        const bool point = random_->below(4) != 0;
        const ByteVector at_cut = image_;
        epoch(bitmap, point);
        troubles += output_->trouble() ? 1 : 0;
        const bool good = point && !output_->trouble();
        storage_.plan() = {};
        const bool settled = point && noted_ && random_->below(2) == 0;
        if (settled) {
            bitmap.clear();
        }
        if (random_->below(3) == 0) {
            ++cuts;
            random_->below(2) == 0 ? storage_.power_cut() : storage_.kill();
            disk_ = storage_.make_disk();
            open();
            ASSERT_TRUE(output_->changed(std::exchange(bitmap, {})));
        }
        if (good) {
            ASSERT_TRUE(applied() == at_cut) << round;
        }
    }
    epoch(std::exchange(bitmap, {}));
    ASSERT_FALSE(output_->trouble());
    EXPECT_TRUE(applied() == image_);
    EXPECT_GT(troubles, 5U);
    EXPECT_GT(cuts, 15U);
}

}  // namespace
}  // namespace cw::agent::test
