// Random workloads on a faulty disk, cut short anywhere, against a model of what was promised.
#include "tests/cache/spool_harness.h"
#include "tests/fakes/sanitizer.h"

#include <cstdlib>

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

struct Plan {
    fakes::FaultPlan faults;
    bool power = true;  // The cut takes the power too, or is a kill only.
    bool both = false;  // Kill, restart, and then the power (A4).
    int rounds = 4;
};

// What the world outside knows about one spool.
class Model {
public:
    Model(std::uint64_t seed, Plan plan)
        : plan_(std::move(plan)),
          random_(make_seeded_random(seed)),
          storage_(random_->next_u64(), plan_.faults) {}

    void run() {
        for (int round = 0; round < plan_.rounds && !::testing::Test::HasFatalFailure(); ++round) {
            Process process(storage_, clock_, *random_, small_options(12));
            if (process.refused) {
                // Only a failing device may refuse; the next start finds everything again.
                ASSERT_TRUE(plan_.faults.sync_error + plan_.faults.write_error > 0)
                    << to_string(*process.refused);
                cut();
                continue;
            }
            check_recovered(process);
            if (plan_.both && round % 2 == 1) {
                storage_.power_cut();  // Before anything new was written or synced.
                continue;
            }
            work(process);
            cut();
        }
        heal();
        Process process(storage_, clock_, *random_, small_options(12));
        ASSERT_FALSE(process.refused) << to_string(*process.refused);
        check_recovered(process);
    }

private:
    struct Known {
        RecordHeader header;
        bool acknowledged = false;
        bool released = false;
    };
    struct History {
        Seq appended{}, acknowledged{};
        std::map<Seq, Known> records;
    };

    void heal() { storage_.plan() = {}; }

    void cut() {
        if (plan_.power && random_->below(4) != 0) {
            storage_.power_cut();
        } else {
            storage_.kill();
        }
    }

    void work(Process& process) {
        const std::uint64_t operations = 20 + random_->below(120);
        for (std::uint64_t i = 0; i < operations && !process.spool->failed(); ++i) {
            switch (random_->below(8)) {
                case 0:
                case 1:
                case 2:
                    append(process);
                    break;
                case 3:
                case 4:
                case 5:
                    process.spool->step(1 + random_->below(4));
                    acknowledge(process);
                    break;
                case 6:
                    release(process);
                    break;
                default:
                    clock_.advance(static_cast<std::int64_t>(random_->below(2 * ns_per_s)));
                    read_one(process);
            }
        }
        if (random_->below(8) == 0) {
            const auto closed = process.spool->close();
            acknowledge(process);
        }
    }

    void append(Process& process) {
        const StreamKey key = make_key(static_cast<std::uint8_t>(1 + random_->below(3)), 1);
        History& history = histories_[key];
        const Seq seq = next(history.appended);
        Record record = make_write(key, seq, static_cast<std::uint32_t>(1 + random_->below(9)));
        const RecordHeader header = record.header;
        if (process.spool->append(record)) {
            history.appended = seq;
            history.records[seq] = {header, false, false};
        }
    }

    void acknowledge(Process& process) {
        while (auto stored = process.spool->take_durable()) {
            const RecordHeader& header = stored->record.header;
            History& history = histories_[header.key];
            ASSERT_TRUE(history.records.contains(header.seq));
            history.records[header.seq].acknowledged = true;
            ASSERT_EQ(header.seq, next(history.acknowledged));  // In order, none left out.
            history.acknowledged = header.seq;
            live_.push_back({stored->lsn, header});
        }
    }

    void release(Process& process) {
        // Mostly the oldest, as commits do; sometimes not.
        for (std::uint64_t i = random_->below(12); i > 0 && !live_.empty(); --i) {
            const std::size_t pick = random_->below(4) == 0 ? random_->below(live_.size()) : 0;
            const auto [lsn, header] = live_[pick];
            live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(pick));
            process.spool->release(lsn);
            histories_[header.key].records[header.seq].released = true;
        }
    }

    void read_one(Process& process) {
        if (live_.empty() || random_->below(2) == 0) {
            return;
        }
        const auto& [lsn, header] = live_[random_->below(live_.size())];
        expect_readable(process, lsn, header);
    }

    static void expect_readable(Process& process, Lsn lsn, const RecordHeader& header) {
        Record record;
        record.header = header;
        const auto read = process.read_back(lsn, record);
        ASSERT_TRUE(read) << to_string(read.error());
        ASSERT_TRUE(payload_is_genuine(record));
    }

    void check_recovered(Process& process) {
        ASSERT_TRUE(process.spool->damaged().empty()) << process.spool->damaged()[0].evidence;
        std::map<StreamKey, std::set<Seq>> found;
        live_.clear();
        Lsn before{};
        for (const StoredRecord& stored : process.recovered()) {
            const RecordHeader& header = stored.record.header;
            ASSERT_GT(stored.lsn, before);
            before = stored.lsn;
            History& history = histories_[header.key];
            ASSERT_TRUE(history.records.contains(header.seq)) << "invented " << raw(header.seq);
            ASSERT_TRUE(found[header.key].insert(header.seq).second) << "came twice";
            ASSERT_EQ(header.table_crc, history.records[header.seq].header.table_crc);
            expect_readable(process, stored.lsn, header);
            live_.push_back({stored.lsn, header});
        }
        for (auto& [key, history] : histories_) {
            check_history(process, key, history, found[key]);
        }
    }

    static void check_history(Process& process, const StreamKey& key, History& history,
                              const std::set<Seq>& found) {
        const Seq durable = process.spool->stream_table().state(key).durable;
        ASSERT_GE(durable, history.acknowledged) << "an acknowledged record is lost";
        ASSERT_LE(durable, history.appended);
        for (auto& [seq, known] : history.records) {
            if (seq <= durable && !known.released) {
                ASSERT_TRUE(found.contains(seq)) << "lost " << raw(seq);
            }
            if (seq > durable) {
                ASSERT_FALSE(found.contains(seq));
            } else {
                known.acknowledged = true;  // WELCOME says so from now on.
                known.released = false;
                if (!found.contains(seq)) {
                    known.released = true;
                }
            }
        }
        history.appended = history.acknowledged = durable;
        history.records.erase(history.records.upper_bound(durable), history.records.end());
    }

    Plan plan_;
    std::unique_ptr<Random> random_;
    ManualClock clock_;
    fakes::SimStorage storage_;
    std::map<StreamKey, History> histories_;
    std::deque<std::pair<Lsn, RecordHeader>> live_;
};

// CAUSEWAY_SEED=n runs that seed only; CAUSEWAY_SEEDS_FACTOR=n runs n times as many.
void run_seeds(std::uint64_t count, const Plan& plan) {
    const char* chosen = std::getenv("CAUSEWAY_SEED");
    const std::uint64_t first = chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : 1;
    set_log_level(LogLevel::error);
    for (std::uint64_t seed = first; seed < first + (chosen != nullptr ? 1 : fakes::seeds(count));
         ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Model(seed, plan).run();
        if (::testing::Test::HasFatalFailure()) {
            break;
        }
    }
    set_log_level(LogLevel::info);
}

TEST(SpoolCrash, LosesNothingAcknowledgedAndInventsNothingWhenThePowerFails) {
    run_seeds(600, {.faults = {.delay_polls_max = 4, .only_path = ""}});
}

TEST(SpoolCrash, KillThenRestartThenPowerCutLosesNothing) {
    run_seeds(300, {.faults = {.delay_polls_max = 4, .only_path = ""}, .both = true, .rounds = 6});
}

// A2: recovery itself is cut short ten times, at whatever it was doing.
TEST(SpoolCrash, A2_RecoveryMayBeKilledTenTimesOver) {
    set_log_level(LogLevel::error);
    for (std::uint64_t seed = 1; seed <= fakes::seeds(60); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const auto random = make_seeded_random(seed);
        ManualClock clock;
        fakes::SimStorage storage(seed, {.delay_polls_max = 3, .only_path = ""});
        std::uint64_t acknowledged = 0;
        {
            Process process(storage, clock, *random, small_options(12));
            ASSERT_FALSE(process.refused);
            for (std::uint64_t seq = 1; seq <= 12; ++seq) {
                Record record = make_write(make_key(1, 1), Seq{seq}, 3);
                process.spool->append(record);
                process.spool->step(1 + random->below(3));
                while (process.spool->take_durable()) {
                    ++acknowledged;
                }
            }
            storage.kill();
        }
        for (int attempt = 0; attempt < 10; ++attempt) {
            storage.plan().sync_error = 5'000;  // Half of its syncs fail, and then it dies.
            {
                Process process(storage, clock, *random, small_options(12));
            }
            storage.plan().sync_error = 0;
            random->below(2) == 0 ? storage.kill() : storage.power_cut();
        }
        Process process(storage, clock, *random, small_options(12));
        ASSERT_FALSE(process.refused);
        EXPECT_GE(process.recovered().size(), acknowledged);
        EXPECT_TRUE(process.spool->damaged().empty());
        const SpoolUsage usage = process.spool->usage();
        EXPECT_GE(usage.free, usage.capacity - 2 * region_bytes);  // No attempt cost any space.
    }
    set_log_level(LogLevel::info);
}

// Each start goes on in a fresh region. However many lives are too short for anything but to begin
// one, and while little is released: what lives is moved together by the first that lasts.
TEST(SpoolCrash, CrashesAloneNeverFillTheCache) {
    set_log_level(LogLevel::error);
    const StreamKey key = make_key(1, 1);
    for (std::uint64_t seed = 1; seed <= fakes::seeds(20); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const auto random = make_seeded_random(seed);
        ManualClock clock;
        fakes::SimStorage storage(seed, {.delay_polls_max = 3, .only_path = ""});
        std::deque<Lsn> live;
        for (int life = 1; life <= 80; ++life) {
            Process process(storage, clock, *random, small_options(12));
            ASSERT_FALSE(process.refused);
            live.clear();
            for (const StoredRecord& stored : process.recovered()) {
                live.push_back(stored.lsn);
            }
            const bool lasts = life % 40 == 0;
            std::uint64_t taken = 0;
            for (std::uint64_t i = lasts ? 500 : 1 + random->below(12); i > 0; --i) {
                const Stream* const known = process.spool->stream_table().find(key);
                Record record =
                    make_write(key, known == nullptr ? Seq{1} : next(known->appended.seq), 3);
                process.spool->append(record);
                process.spool->step(1);
                while (const auto stored = process.spool->take_durable()) {
                    live.push_back(stored->lsn);
                    ++taken;
                }
                for (; live.size() > 40;
                     live.pop_front()) {  // A quarter of what there is room for.
                    process.spool->release(live.front());
                }
            }
            ASSERT_TRUE(!lasts || taken > 0) << "full for ever in life " << life;
            storage.kill();
        }
    }
    set_log_level(LogLevel::info);
}

TEST(SpoolCrash, FailingSyncsAndWritesLoseNothingAcknowledged) {
    run_seeds(
        1000,
        {.faults = {.write_error = 60, .sync_error = 120, .delay_polls_max = 4, .only_path = ""},
         .rounds = 6});
}

TEST(SpoolCrash, KillAloneLosesNothing) {
    run_seeds(200, {.faults = {.delay_polls_max = 6, .only_path = ""}, .power = false});
}

}  // namespace
}  // namespace cw::cache::testing
