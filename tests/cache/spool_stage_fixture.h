// A SpoolStage of one reactor between rings, and one machine with one disk that sends to it.
#pragma once

#include "cache/spool_stage.h"
#include "tests/cache/spool_harness.h"

#include <gtest/gtest.h>

namespace cw::cache::testing {

class SpoolStageTest : public ::testing::Test {
protected:
    SpoolStageTest() { restart(); }

    // A new process on the same storage.
    void restart(SpoolOptions options = small_options()) {
        stage_.reset();
        process_.reset();
        process_ = std::make_unique<Process>(storage_, clock_, *random_, std::move(options));
        ASSERT_FALSE(process_->refused);
        SpoolStagePorts ports{.records = {&records_},
                              .spooled = {&spooled_},
                              .commands = &commands_,
                              .opened = &opened_,
                              .releases = &releases_,
                              .stored = &stored_,
                              .wake_reactor = [](std::uint32_t) {},
                              .wake_control = [] {},
                              .wake_stored = [] {},
                              .payload_taken = [this](std::uint64_t bytes) { taken_ += bytes; },
                              .set_room = [this](std::uint64_t bytes) { room_ = bytes; }};
        stage_ = std::make_unique<SpoolStage>(*process_->spool, *process_->disk, clock_,
                                              std::move(ports),
                                              SpoolStageOptions{.resident_bytes_max = 4 * mib});
    }
    void open(SessionId session, Seq committed = {}, Seq open_fence = {}) {
        commands_.try_push(SpoolCommand(OpenStreams{key_.machine, session, 0, 1}));
        run();
        commands_.try_push(SpoolCommand(SettleStreams{{{key_, committed, open_fence}}}));
    }
    void send(Record record, SessionId session = SessionId{1}) {
        record.header.session = session;
        ASSERT_TRUE(records_.try_push(record));
    }
    Record make_point(std::uint8_t id, Seq cut) const {
        pipeline::Point point;
        point.id.bytes[0] = std::byte{id};
        point.cuts.push_back({key_.disk, key_.generation, cut, {}});
        const ByteVector bytes = pipeline::encode_point(point);
        Record record;
        record.header.key.machine = key_.machine;
        record.header.type = RecordType::point;
        record.header.table_bytes = static_cast<std::uint32_t>(align_up(bytes.size(), block_bytes));
        record.table = pipeline::TableBuffer(record.header.table_bytes);
        std::ranges::copy(bytes, record.table.bytes().begin());
        record.header.table_crc = crc32c(record.table.bytes());
        return record;
    }
    void run() {
        for (int i = 0; i < 50; ++i) {
            stage_->step(16);
        }
    }
    // The one history as a new session finds it.
    StreamState found_by(SessionId session) {
        StreamsOpened answer;
        while (opened_.try_pop(answer)) {
        }
        commands_.try_push(SpoolCommand(OpenStreams{key_.machine, session, 0, 1}));
        run();
        EXPECT_TRUE(opened_.try_pop(answer));
        EXPECT_EQ(answer.streams.size(), 1U);
        return answer.streams.empty() ? StreamState{} : answer.streams[0];
    }
    // As found_by(), of a session that must wait for the device: a millisecond by the clock.
    StreamState found_when_durable(SessionId session) {
        commands_.try_push(SpoolCommand(OpenStreams{key_.machine, session, 0, 1}));
        run();
        StreamsOpened answer;
        while (opened_.try_pop(answer)) {
            EXPECT_NE(answer.session, session) << "told before the device was done";
        }
        clock_.advance(ns_per_ms);
        run();
        EXPECT_TRUE(opened_.try_pop(answer));
        EXPECT_EQ(answer.streams.size(), 1U);
        return answer.streams.empty() ? StreamState{} : answer.streams[0];
    }
    // The machine's session leaves a cache so full that some of what the log has taken finds no
    // room: three writes fit into a region, and the rest of each counts as room all the same. A
    // point lies behind them. Returns how many became durable.
    std::uint64_t overfill(SessionId session) {
        SpoolOptions options = small_options();
        options.throttle_free = 0;
        options.batch_bytes_max = 4 * mib;  // The log takes them all before it writes the first.
        restart(std::move(options));
        open(session);
        const std::uint64_t room = process_->spool->usage().room;
        std::uint64_t seq = 0, bytes = 0;
        for (Record record = make_write(key_, Seq{1}, 16);
             bytes + payload_bytes(record.header) + 2 * block_bytes <= room;
             record = make_write(key_, Seq{seq + 1}, 16)) {
            bytes += payload_bytes(record.header);
            ++seq;
            send(std::move(record), session);
        }
        send(make_point(1, Seq{seq}), session);
        stage_->step(records_.capacity());
        EXPECT_TRUE(records_.empty());
        run();
        EXPECT_FALSE(process_->spool->idle()) << "all of it found room: nothing is shown here";
        left_bytes_ = taken_ - notes().bytes;
        for (auto some = stored(); !some.empty(); some = stored()) {
            for (const StoredRecord& one : some) {
                held_.lsns.push_back(one.lsn);
            }
            run();  // The ring is small.
        }
        return held_.lsns.size();
    }
    // All notes so far as one.
    pipeline::Spooled notes() {
        pipeline::Spooled sum, note;
        while (spooled_.try_pop(note)) {
            sum.bytes += note.bytes;
            sum.durable = std::max(sum.durable, note.durable);
            sum.points.insert(sum.points.end(), note.points.begin(), note.points.end());
            sum.base_ordinals.insert(sum.base_ordinals.end(), note.base_ordinals.begin(),
                                     note.base_ordinals.end());
            sum.refused_fence = std::max(sum.refused_fence, note.refused_fence);
            if (note.expected) {
                sum.expected = note.expected;
            }
        }
        return sum;
    }
    std::vector<StoredRecord> stored() {
        std::vector<StoredRecord> out;
        StoredRecord one;
        while (stored_.try_pop(one)) {
            out.push_back(std::move(one));
        }
        return out;
    }

    StreamKey key_ = make_key(1, 1);
    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
    fakes::SimStorage storage_{7, {}, &clock_};
    pipeline::Ring<Record> records_{64};
    pipeline::Ring<pipeline::Spooled> spooled_{8};
    pipeline::Ring<SpoolCommand> commands_{8};
    pipeline::Ring<StreamsOpened> opened_{8};
    pipeline::Ring<pipeline::Release> releases_{8};
    pipeline::Ring<StoredRecord> stored_{8};
    std::uint64_t taken_ = 0, room_ = 0;
    std::uint64_t left_bytes_ = 0;  // Of what found no room.
    pipeline::Release held_;
    std::unique_ptr<Process> process_;
    std::unique_ptr<SpoolStage> stage_;
};

}  // namespace cw::cache::testing
