// The bitmaps of an epoch against a monitor that keeps them as QEMU does: whatever fails, no write
// is in none of them.
#include "agent/qemu/qemu_tracker.h"

#include "tests/agent/fake_monitor.h"

#include <map>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace cw::agent::test {
namespace {

using Blocks = std::set<int>;

// What QEMU keeps of two disks. A transaction happens whole or not at all.
class Bitmaps {
public:
    enum class Next { done, refused, done_but_unanswered };

    void guest_writes(const std::string& node, int block) {
        const std::lock_guard lock(mutex_);
        for (auto& [name, bitmap] : nodes_[node]) {
            if (bitmap.recording) {
                bitmap.blocks.insert(block);
            }
        }
    }
    void next(Next outcome) {
        const std::lock_guard lock(mutex_);
        next_ = outcome;
    }
    // Of one bitmap; of all of a disk.
    Blocks of(const std::string& node, const std::string& name) {
        const std::lock_guard lock(mutex_);
        return nodes_[node].at(name).blocks;
    }
    Blocks of(const std::string& node) {
        const std::lock_guard lock(mutex_);
        Blocks all;
        for (const auto& [name, bitmap] : nodes_[node]) {
            all.insert(bitmap.blocks.begin(), bitmap.blocks.end());
        }
        return all;
    }
    std::size_t count(const std::string& node) {
        const std::lock_guard lock(mutex_);
        return nodes_[node].size();
    }
    // As an agent that comes next finds the disk.
    QemuDisk seen(const std::string& node) {
        const std::lock_guard lock(mutex_);
        QemuDisk disk;
        disk.name = disk.node = node;
        for (const auto& [name, bitmap] : nodes_[node]) {
            disk.bitmaps.push_back({name, bitmap.recording, false, 0});
        }
        return disk;
    }
    std::string answer(const std::string& line) {
        const auto asked = nlohmann::json::parse(line);
        if (asked.at("execute") != "transaction") {
            return "{\"return\": {}, \"id\": $ID}\n";
        }
        const std::lock_guard lock(mutex_);
        const Next outcome = std::exchange(next_, Next::done);
        auto after = nodes_;
        bool possible = outcome != Next::refused;
        for (const auto& action : asked.at("arguments").at("actions")) {
            possible = possible && carry_out(after, action);
        }
        if (!possible) {
            return "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": $ID}\n";
        }
        nodes_ = std::move(after);
        return outcome == Next::done ? "{\"return\": {}, \"id\": $ID}\n" : "hang up";
    }

private:
    struct Bitmap {
        bool recording = false;
        Blocks blocks;
    };
    using Nodes = std::map<std::string, std::map<std::string, Bitmap>>;

    static bool carry_out(Nodes& nodes, const nlohmann::json& action) {
        const std::string type = action.at("type");
        const auto& data = action.at("data");
        auto& bitmaps = nodes[data.at("node").get<std::string>()];
        const bool merges = type == "block-dirty-bitmap-merge";
        const std::string name = data.at(merges ? "target" : "name");
        if (type == "block-dirty-bitmap-add") {
            return bitmaps.emplace(name, Bitmap{!data.at("disabled").get<bool>(), {}}).second;
        }
        const auto bitmap = bitmaps.find(name);
        if (bitmap == bitmaps.end()) {
            return false;
        }
        if (type == "block-dirty-bitmap-remove") {
            bitmaps.erase(bitmap);
        } else if (type == "block-dirty-bitmap-disable") {
            bitmap->second.recording = false;
        } else if (merges) {
            for (const auto& from : data.at("bitmaps")) {
                const auto source = bitmaps.find(from.get<std::string>());
                if (source == bitmaps.end()) {
                    return false;
                }
                bitmap->second.blocks.insert(source->second.blocks.begin(),
                                             source->second.blocks.end());
            }
        } else {
            ADD_FAILURE() << type;
        }
        return true;
    }

    std::mutex mutex_;
    Nodes nodes_;
    Next next_ = Next::done;
};

class EpochBitmaps : public testing::Test {
protected:
    EpochBitmaps()
        : clock_(make_system_clock()),
          path_(testing::TempDir() + "cw_tracker_" + std::to_string(::getpid())),
          monitor_(path_, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n",
                   [this](const std::string& line) { return qemu.answer(line); }) {
        connect();
        EXPECT_TRUE(tracker->begin());
        EXPECT_TRUE(tracker->settled());
    }
    // An agent's own view of what the machine holds now.
    void connect() {
        tracker.reset();
        machine.reset();
        machine = QemuMachine::connect(path_, *clock_).value();
        tracker = std::make_unique<QemuTracker>(
            *machine, std::vector<QemuTracker::Disk>{{qemu.seen("a"), "t"}, {qemu.seen("b"), "t"}});
    }
    bool cut() {
        QemuTransaction transaction;
        tracker->cut(transaction);
        if (!machine->run(transaction)) {
            return false;
        }
        tracker->cut_done();
        return true;
    }
    Blocks carried(std::size_t slot) {
        return qemu.of(slot == 0 ? "a" : "b", tracker->still(slot));
    }
    void guest_writes(int block) {
        qemu.guest_writes("a", block);
        qemu.guest_writes("b", block + 100);
    }

    Bitmaps qemu;
    std::unique_ptr<Clock> clock_;
    std::string path_;
    FakeMonitor monitor_;
    std::unique_ptr<QemuMachine> machine;
    std::unique_ptr<QemuTracker> tracker;
};

TEST_F(EpochBitmaps, AnEpochCarriesWhatWasWrittenSinceTheLastOne) {
    guest_writes(1);
    ASSERT_TRUE(cut());
    guest_writes(2);
    EXPECT_EQ(carried(0), Blocks{1});
    EXPECT_EQ(carried(1), Blocks{101});
    ASSERT_TRUE(tracker->settled());
    ASSERT_TRUE(cut());
    EXPECT_EQ(carried(0), Blocks{2});
}

TEST_F(EpochBitmaps, WhatAFailedEpochShouldHaveCarriedIsInTheNextOne) {
    guest_writes(1);
    ASSERT_TRUE(cut());
    guest_writes(2);
    ASSERT_TRUE(tracker->give_back());
    EXPECT_EQ(qemu.of("a", tracker->recording(0)), (Blocks{1, 2}));
    EXPECT_EQ(qemu.count("a"), 1U);  // Nothing is left of the failed one.
    guest_writes(3);
    ASSERT_TRUE(cut());
    guest_writes(4);
    EXPECT_EQ(carried(0), (Blocks{1, 2, 3}));
    EXPECT_EQ(carried(1), (Blocks{101, 102, 103}));
    ASSERT_TRUE(tracker->settled());
    EXPECT_EQ(qemu.of("b"), Blocks{104});
}

TEST_F(EpochBitmaps, EpochsThatFailOneAfterTheOtherLoseNothing) {
    Blocks written;
    for (int block = 1; block <= 5; ++block) {
        guest_writes(block);
        written.insert(block);
        ASSERT_TRUE(cut());
        EXPECT_EQ(carried(0), written);
        ASSERT_TRUE(tracker->give_back());
    }
    ASSERT_TRUE(cut());
    EXPECT_EQ(carried(0), written);
    EXPECT_EQ(qemu.count("a"), 2U);
}

TEST_F(EpochBitmaps, ACutThatQemuRefusesLeavesTheRecordingOne) {
    guest_writes(1);
    qemu.next(Bitmaps::Next::refused);
    ASSERT_FALSE(cut());
    guest_writes(2);
    EXPECT_EQ(qemu.of("a", tracker->recording(0)), (Blocks{1, 2}));
    EXPECT_EQ(qemu.count("a"), 1U);
    ASSERT_TRUE(cut());
    EXPECT_EQ(carried(0), (Blocks{1, 2}));
}

TEST_F(EpochBitmaps, AMergeThatQemuRefusesLeavesBothForTheNextAgent) {
    guest_writes(1);
    ASSERT_TRUE(cut());
    guest_writes(2);
    qemu.next(Bitmaps::Next::refused);
    ASSERT_FALSE(tracker->give_back());
    guest_writes(3);
    EXPECT_EQ(qemu.of("a"), (Blocks{1, 2, 3}));
    connect();
    EXPECT_TRUE(QemuTracker::continuous(qemu.seen("a"), "t"));
}

TEST_F(EpochBitmaps, AConnectionThatBreaksWithinACutOrAMergeLosesNothing) {
    guest_writes(1);
    qemu.next(Bitmaps::Next::done_but_unanswered);
    ASSERT_FALSE(cut());  // It was one, but nobody knows.
    guest_writes(2);
    EXPECT_EQ(qemu.of("a"), (Blocks{1, 2}));
    EXPECT_EQ(qemu.count("a"), 2U);
    EXPECT_TRUE(QemuTracker::continuous(qemu.seen("a"), "t"));
}

}  // namespace
}  // namespace cw::agent::test
