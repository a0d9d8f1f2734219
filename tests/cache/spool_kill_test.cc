// A1, A2: a process with the real spool on a real file is killed (kill -9), hundreds of times, at
// random moments and at every crash point, with both disks in turn; what it had reported durable
// before each death is there afterwards, byte for byte, and nothing that was never written.
//
// CAUSEWAY_KILLS=N kills N times; CAUSEWAY_SEED=N repeats a run. Both counts are printed.
#include "base/crash_point.h"
#include "tests/cache/spool_harness.h"
#include "tests/fakes/sanitizer.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::cache::testing {
namespace {

constexpr std::uint8_t machines = 3;
constexpr int failed_exit = 3;

SpoolOptions options_at(const std::string& path) {
    SpoolOptions options = small_options(12);
    options.path = path;
    return options;
}

// What the victim says before it does it (appended, released) or after it is so (durable). Smaller
// than PIPE_BUF: a death leaves no half message.
struct Word {
    enum What : std::uint64_t { appended, durable, released } what{};
    std::uint64_t machine = 0, seq = 0;
};

// One life: opens the spool, works until it is killed or `operations` are done, ends in order.
class Victim {
public:
    Victim(const std::string& path, bool uring, std::uint64_t seed, int out)
        : path_(path), random_(make_seeded_random(seed)), clock_(make_system_clock()), out_(out) {
        disk_ = uring ? make_best_disk(32) : make_posix_disk();
    }
    // The process ends in here.
    [[noreturn]] void live(std::uint64_t operations) {
        Conditions conditions(*clock_);
        const auto metrics = make_metric_registry();
        auto spool =
            Spool::open(options_at(path_), {*disk_, *clock_, *random_, conditions, *metrics});
        if (!spool) {
            _exit(failed_exit);
        }
        while (auto stored = (*spool)->next_recovered()) {
            live_.emplace_back(stored->lsn, stored->record.header);
        }
        for (std::uint64_t i = 0; i < operations; ++i) {
            work(**spool);
        }
        _exit((*spool)->close() ? 0 : failed_exit);
    }

private:
    void say(Word word) const {
        if (write(out_, &word, sizeof(word)) != sizeof(word)) {
            _exit(failed_exit);
        }
    }
    void work(Spool& spool) {
        const std::uint64_t machine = random_->below(machines);
        const StreamKey key = make_key(static_cast<std::uint8_t>(machine), 1);
        const Stream* const known = spool.stream_table().find(key);
        const Seq seq = known == nullptr ? Seq{1} : next(known->appended.seq);
        Record record = make_write(key, seq, static_cast<std::uint32_t>(1 + random_->below(6)));
        say({Word::appended, machine, raw(seq)});
        spool.append(record);
        if (spool.step(1 + random_->below(4)) == pipeline::Progress::blocked) {
            disk_->wait(ns_per_ms);
        }
        while (const auto stored = spool.take_durable()) {
            const RecordHeader& header = stored->record.header;
            say({Word::durable, std::to_integer<std::uint64_t>(header.key.machine.bytes[0]),
                 raw(header.seq)});
            live_.emplace_back(stored->lsn, header);
        }
        while (live_.size() > 40) {
            const auto [lsn, header] = live_.front();
            live_.pop_front();
            say({Word::released, std::to_integer<std::uint64_t>(header.key.machine.bytes[0]),
                 raw(header.seq)});
            spool.release(lsn);
        }
    }

    std::string path_;
    std::unique_ptr<Random> random_;
    std::unique_ptr<Clock> clock_;
    std::unique_ptr<Disk> disk_;
    std::deque<std::pair<Lsn, RecordHeader>> live_;
    int out_;
};

class SpoolKill : public ::testing::Test {
protected:
    SpoolKill()
        : path_(::testing::TempDir() + "cw_kill_" + std::to_string(getpid())),
          seed_(static_cast<std::uint64_t>(raw(make_system_clock()->boot()))) {
        if (const char* chosen = std::getenv("CAUSEWAY_SEED")) {
            seed_ = std::strtoull(chosen, nullptr, 10);
        }
        random_ = make_seeded_random(seed_);
        set_log_level(LogLevel::error);
        forget();
    }
    ~SpoolKill() override {
        set_log_level(LogLevel::info);
        std::filesystem::remove_all(path_);
    }

    // A new spool, of which nothing is known.
    void forget() {
        std::filesystem::remove_all(path_);
        histories_.fill({});
    }
    // One life and its violent end: at `point`, or after `lifetime_ns`. False: it ended by itself.
    bool live_and_die(bool uring, const std::string& point, std::uint64_t hit,
                      std::int64_t lifetime_ns) {
        std::array<int, 2> ends{};
        CW_ASSERT(pipe(ends.data()) == 0);
        const std::uint64_t seed = random_->next_u64();
        // The end in order is on the way to cache.close.*.
        const std::uint64_t operations = point.starts_with("cache.close") ? 1000 : 100'000;
        const pid_t child = fork();
        CW_ASSERT(child >= 0);
        if (child == 0) {
            close(ends[0]);
            if (!point.empty() && !arm_crash_point(point, hit)) {
                _exit(failed_exit);
            }
            Victim(path_, uring, seed, ends[1]).live(operations);
        }
        close(ends[1]);
        listen(ends[0], child, lifetime_ns);
        close(ends[0]);
        int status = 0;
        CW_ASSERT(waitpid(child, &status, 0) == child);
        EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == failed_exit);
        const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        kills_ += killed ? 1 : 0;
        return killed;
    }
    // What the next start of the program would find, against what was said.
    void verify() {
        const auto disk = make_posix_disk();
        const auto reader_disk = make_posix_disk();
        const auto clock = make_system_clock();
        Conditions conditions(*clock);
        const auto metrics = make_metric_registry();
        auto spool =
            Spool::open(options_at(path_), {*disk, *clock, *random_, conditions, *metrics});
        ASSERT_TRUE(spool) << to_string(spool.error());
        ASSERT_TRUE((*spool)->damaged().empty()) << (*spool)->damaged().front().evidence;
        const auto reader = SpoolReader::open(**spool, *reader_disk).value();
        std::array<std::set<Seq>, machines> found;
        while (auto stored = (*spool)->next_recovered()) {
            const RecordHeader header = stored->record.header;
            const auto machine = std::to_integer<std::size_t>(header.key.machine.bytes[0]);
            ASSERT_TRUE(found.at(machine).insert(header.seq).second) << "came twice";
            ASSERT_LE(header.seq, histories_.at(machine).appended) << "was never written";
            ASSERT_NO_FATAL_FAILURE(read_whole(*reader, *stored));
        }
        for (std::size_t machine = 0; machine < machines; ++machine) {
            check_history(**spool, machine, found.at(machine));
        }
    }
    [[nodiscard]] std::uint64_t kills() const noexcept { return kills_; }
    [[nodiscard]] std::uint64_t verified() const noexcept { return verified_; }
    [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
    Random& random() noexcept { return *random_; }

private:
    struct History {
        Seq appended{}, durable{}, released{};
    };

    void hear(const Word& word) {
        History& history = histories_.at(word.machine);
        Seq& mark = word.what == Word::appended  ? history.appended
                    : word.what == Word::durable ? history.durable
                                                 : history.released;
        mark = std::max(mark, Seq{word.seq});
    }
    // Until the pipe ends; kills `child` when its time is over.
    void listen(int from, pid_t child, std::int64_t lifetime_ns) {
        const auto clock = make_system_clock();
        const Nanos end = clock->boot() + lifetime_ns;
        bool killed = false;
        while (true) {
            pollfd ready{.fd = from, .events = POLLIN, .revents = 0};
            const std::int64_t left = (end - clock->boot()) / ns_per_ms;
            const int wait_ms = killed ? -1 : static_cast<int>(std::max<std::int64_t>(left, 0));
            if (::poll(&ready, 1, wait_ms) == 0 || (!killed && left <= 0)) {
                kill(child, SIGKILL);
                killed = true;
                continue;
            }
            Word word;
            const ssize_t got = read(from, &word, sizeof(word));
            if (got <= 0) {
                return;
            }
            ASSERT_EQ(got, static_cast<ssize_t>(sizeof(word)));
            hear(word);
        }
    }
    static void read_whole(SpoolReader& reader, StoredRecord& stored) {
        for (std::size_t i = 0; i < stored.record.slab_count(); ++i) {
            stored.record.slabs[i] = slabs().try_take();
            ASSERT_TRUE(static_cast<bool>(stored.record.slabs[i]));
        }
        std::optional<Result<void>> outcome;
        reader.read(stored.lsn, stored.record, [&](Result<void> result) { outcome = result; });
        for (int i = 0; i < 1000 && !outcome; ++i) {
            reader.poll();
        }
        ASSERT_TRUE(outcome && *outcome);
        ASSERT_TRUE(payload_is_genuine(stored.record));
    }
    void check_history(Spool& spool, std::size_t machine, const std::set<Seq>& found) {
        History& history = histories_.at(machine);
        const StreamKey key = make_key(static_cast<std::uint8_t>(machine), 1);
        const Seq durable = spool.stream_table().state(key).durable;
        ASSERT_GE(durable, history.durable) << "machine " << machine << " lost what was SPOOLED";
        ASSERT_LE(durable, history.appended);
        for (Seq seq = next(history.released); seq <= durable; seq = next(seq)) {
            ASSERT_TRUE(found.contains(seq)) << "machine " << machine << " lost " << raw(seq);
        }
        verified_ += raw(history.durable) - std::min(raw(history.durable), raw(history.released));
        history.appended = history.durable = durable;
    }

    std::string path_;
    std::uint64_t seed_, kills_ = 0, verified_ = 0;
    std::unique_ptr<Random> random_;
    std::array<History, machines> histories_;
};

TEST_F(SpoolKill, A1NothingSpooledIsLostByKillsAtEveryCrashPointAndAtRandomMoments) {
    const char* const wanted = std::getenv("CAUSEWAY_KILLS");
    const std::uint64_t kills_wanted =
        wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : fakes::seeds(60);
    std::vector<std::string> points;
    for (const std::string_view name : crash_point_names()) {
        points.emplace_back(name);
    }
    std::ranges::sort(points);
    std::erase_if(points, [](const std::string& name) { return !name.starts_with("cache."); });
    ASSERT_GE(points.size(), 14U);
    constexpr std::int64_t long_ns = 60 * ns_per_s;
    // Each point under each disk; what comes before its first hit is another life's end.
    for (const bool uring : {false, true}) {
        for (const std::string& point : points) {
            SCOPED_TRACE(point + (uring ? " uring" : " posix"));
            if (point.starts_with("cache.create")) {
                forget();
            } else {
                live_and_die(uring, "cache.after_write", 5, long_ns);  // It leaves a tail.
                ASSERT_NO_FATAL_FAILURE(verify());
                live_and_die(uring, "cache.after_write", 3, long_ns);
            }
            bool reached = false;
            for (int life = 0; life < 5 && !reached; ++life) {
                reached = live_and_die(uring, point, 1, long_ns);
            }
            EXPECT_TRUE(reached);
            ASSERT_NO_FATAL_FAILURE(verify());
        }
    }
    for (std::uint64_t round = 0; kills() < kills_wanted; ++round) {
        SCOPED_TRACE("round " + std::to_string(round) + ", seed " + std::to_string(seed()));
        const bool at_point = random().below(3) == 0;
        const std::string point = at_point ? points[random().below(points.size())] : "";
        live_and_die(round % 2 == 1, point, 1 + random().below(5),
                     static_cast<std::int64_t>(random().below(60 * ns_per_ms)));
        if (random().below(4) != 0) {  // Else the next life recovers on its own, and may die of it.
            ASSERT_NO_FATAL_FAILURE(verify());
        }
    }
    verify();
    std::cout << kills() << " kills, " << verified() << " SPOOLED writes verified, seed " << seed()
              << " (again: CAUSEWAY_SEED=" << seed() << ")\n";
}

}  // namespace
}  // namespace cw::cache::testing
