#include "base/disk.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/random.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

namespace cw {
namespace {

// A directory that goes away with its test.
class ScratchDirectory {
public:
    ScratchDirectory() {
        std::string pattern = testing::TempDir() + "cw_disk_XXXXXX";
        CW_ASSERT(mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
    }
    ~ScratchDirectory() { std::filesystem::remove_all(path_); }
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    [[nodiscard]] std::string operator/(const char* name) const { return path_ + '/' + name; }

private:
    std::string path_;
};

// O_DIRECT wants memory, offsets and lengths in whole blocks.
class AlignedBuffer {
public:
    explicit AlignedBuffer(std::size_t size)
        : data_(static_cast<std::byte*>(std::aligned_alloc(block_bytes, size)), &std::free),
          size_(size) {}
    [[nodiscard]] MutableBytes bytes() const noexcept { return {data_.get(), size_}; }

private:
    std::unique_ptr<std::byte, void (*)(void*)> data_;
    std::size_t size_;
};

Result<std::unique_ptr<Disk>> make_posix() {
    return make_posix_disk();
}

using Factory = Result<std::unique_ptr<Disk>> (*)();

class DiskTest : public testing::TestWithParam<Factory> {
protected:
    void SetUp() override {
        auto made = GetParam()();
        if (!made) {
            GTEST_SKIP() << to_string(made.error());
        }
        disk_ = std::move(*made);
    }
    std::unique_ptr<File> open_new(const char* name, bool direct = false) {
        return disk_
            ->open(scratch_ / name,
                   {.write = true, .create = true, .exclusive = true, .direct = direct})
            .value();
    }
    void drain() {
        while (disk_->in_flight() > 0) {
            if (disk_->poll() == 0) {
                disk_->wait(1'000'000'000);
            }
        }
    }
    ScratchDirectory scratch_;
    std::unique_ptr<Disk> disk_;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
const auto all_disks = testing::Values(&make_posix);  // Sanitizers do not see the kernel's writes.
#else
constexpr unsigned small_depth = 4;  // Below what the tests have in flight: the queue overflows.
Result<std::unique_ptr<Disk>> make_uring() {
    return make_uring_disk(small_depth);
}
const auto all_disks = testing::Values(&make_posix, &make_uring);
#endif
INSTANTIATE_TEST_SUITE_P(All, DiskTest, all_disks,
                         [](const auto& test) { return test.index == 0 ? "posix" : "uring"; });

TEST_P(DiskTest, ReadsBackWhatItWrote) {
    const auto file = open_new("a");
    ByteVector written(100'000), read(100'000);
    make_seeded_random(1)->fill(written);
    ASSERT_TRUE(write_at(*disk_, *file, 777, written, true));
    EXPECT_EQ(file->size(), 100'777U);
    EXPECT_EQ(read_at(*disk_, *file, 777, read).value(), read.size());
    EXPECT_EQ(read, written);
    EXPECT_TRUE(sync_file(*disk_, *file));
}

// Written bytes that a truncation found dirty in the page cache; the kernel counts them.
std::uint64_t dirty_bytes_dropped() {
    std::ifstream io("/proc/self/io");
    std::string name;
    std::uint64_t value = 0;
    while (io >> name >> value) {
        if (name == "cancelled_write_bytes:") {
            return value;
        }
    }
    return 0;
}

// RWF_DSYNC shows in what it leaves behind: nothing that only the page cache has.
TEST_P(DiskTest, ADurableWriteLeavesNothingDirty) {
    const auto dropped_after = [&](const char* name, bool durable) {
        const auto file = open_new(name);
        const ByteVector bytes(64 * block_bytes, std::byte{1});
        EXPECT_TRUE(write_at(*disk_, *file, 0, bytes, durable));
        const std::uint64_t before = dirty_bytes_dropped();
        EXPECT_TRUE(disk_->resize(*file, 0, false));
        return dirty_bytes_dropped() - before;
    };
    if (dropped_after("plain", false) == 0) {
        GTEST_SKIP() << "this file system keeps no count of dirty pages";
    }
    EXPECT_EQ(dropped_after("durable", true), 0U);
}

TEST_P(DiskTest, StopsAtTheEndOfTheFile) {
    const auto file = open_new("a");
    ASSERT_TRUE(write_at(*disk_, *file, 0, as_bytes("12345"), false));
    ByteVector buffer(10);
    EXPECT_EQ(read_at(*disk_, *file, 2, buffer).value(), 3U);
    EXPECT_EQ(read_at(*disk_, *file, 100, buffer).value(), 0U);
}

TEST_P(DiskTest, GathersAndScattersManyParts) {
    const auto file = open_new("a", true);
    const AlignedBuffer out(64 * block_bytes), in(64 * block_bytes);
    make_seeded_random(2)->fill(out.bytes());
    std::vector<iovec> parts;
    parts.reserve(64);
    for (std::size_t i = 0; i < 64; ++i) {  // Written in reverse order of memory.
        parts.push_back({out.bytes().data() + (63 - i) * block_bytes, block_bytes});
    }
    bool done = false;
    DiskRequest request{.op = DiskOp::write, .durable = true, .file = file.get()};
    request.parts = parts.data();
    request.part_count = 64;
    request.context = &done;
    request.done = [](DiskRequest& r) { *static_cast<bool*>(r.context) = true; };
    disk_->start(request);
    EXPECT_FALSE(done);  // Never inside start().
    drain();
    EXPECT_TRUE(done);
    EXPECT_EQ(request.result, static_cast<std::int64_t>(64 * block_bytes));
    ASSERT_EQ(read_at(*disk_, *file, 0, in.bytes()).value(), in.bytes().size());
    for (std::size_t i = 0; i < 64; ++i) {
        EXPECT_TRUE(std::ranges::equal(in.bytes().subspan(i * block_bytes, block_bytes),
                                       out.bytes().subspan((63 - i) * block_bytes, block_bytes)));
    }
}

// One of many writes in flight; each starts its successor from its own completion.
struct ChainedWrite {
    DiskRequest request;
    iovec part{};
    Disk* disk = nullptr;
    int* finished = nullptr;
    int rounds_left = 0;
    std::uint64_t stride = 0;

    static void on_done(DiskRequest& done) {
        auto& self = *static_cast<ChainedWrite*>(done.context);
        ASSERT_EQ(done.result, static_cast<std::int64_t>(self.part.iov_len));
        ++*self.finished;
        if (--self.rounds_left > 0) {
            done.offset += self.stride;
            self.disk->start(done);
        }
    }
};

TEST_P(DiskTest, FinishesMoreOperationsThanTheQueueHolds) {
    constexpr std::size_t chains = 40, rounds = 5;
    const auto file = open_new("a");
    ByteVector pattern(chains * 100);
    make_seeded_random(3)->fill(pattern);
    std::vector<ChainedWrite> writes(chains);
    int finished = 0;
    for (std::size_t i = 0; i < chains; ++i) {
        ChainedWrite& one = writes[i];
        one.part = {pattern.data() + i * 100, 100};
        one.disk = disk_.get();
        one.finished = &finished;
        one.rounds_left = rounds;
        one.stride = pattern.size();
        one.request = {.op = DiskOp::write, .file = file.get(), .offset = i * 100};
        one.request.parts = &one.part;
        one.request.part_count = 1;
        one.request.done = &ChainedWrite::on_done;
        one.request.context = &one;
        disk_->start(one.request);
    }
    EXPECT_EQ(disk_->in_flight(), chains);
    drain();
    EXPECT_EQ(finished, static_cast<int>(chains * rounds));
    ByteVector read(pattern.size() * rounds);
    ASSERT_EQ(read_at(*disk_, *file, 0, read).value(), read.size());
    for (std::size_t round = 0; round < rounds; ++round) {
        EXPECT_TRUE(std::ranges::equal(Bytes(read).subspan(round * pattern.size(), pattern.size()),
                                       pattern));
    }
}

TEST_P(DiskTest, ReportsTheKernelsErrorAsResult) {
    open_new("a");
    const auto read_only = disk_->open(scratch_ / "a", {}).value();
    const auto result = write_at(*disk_, *read_only, 0, as_bytes("x"), false);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::io_error);
    EXPECT_EQ(read_only->size(), 0U);
}

TEST_P(DiskTest, RingsItsDescriptorWhenPollHasWork) {
    const auto file = open_new("a");
    const int event = disk_->event_fd();
    ASSERT_GE(event, 0);
    pollfd bell{event, POLLIN, 0};
    EXPECT_EQ(poll(&bell, 1, 0), 0);
    bool done = false;
    DiskRequest request{.op = DiskOp::sync, .file = file.get()};
    request.context = &done;
    request.done = [](DiskRequest& r) { *static_cast<bool*>(r.context) = true; };
    for (int round = 0; round < 3; ++round) {
        done = false;
        disk_->start(request);
        EXPECT_EQ(poll(&bell, 1, 5000), 1);
        EXPECT_EQ(disk_->poll(), 1U);
        EXPECT_TRUE(done);
        EXPECT_EQ(poll(&bell, 1, 0), 0) << "still ringing";
    }
}

TEST_P(DiskTest, WaitEndsWithItsTimeout) {
    const auto clock = make_system_clock();
    const Nanos before = clock->boot();
    disk_->wait(20 * ns_per_ms);
    EXPECT_EQ(disk_->poll(), 0U);
    EXPECT_GE(clock->boot() - before, 15 * ns_per_ms);
    disk_->wait(0);
}

TEST_P(DiskTest, OpensAsAsked) {
    EXPECT_EQ(disk_->open(scratch_ / "absent", {}).error().code, Errc::not_found);
    open_new("a");
    EXPECT_EQ(disk_->open(scratch_ / "a", {.write = true, .create = true, .exclusive = true})
                  .error()
                  .code,
              Errc::file_exists);
    ASSERT_TRUE(disk_->open(scratch_ / "a", {.write = true, .create = true}));
    struct stat status{};
    ASSERT_EQ(stat((scratch_ / "a").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    EXPECT_EQ(disk_->open(scratch_ / ".", {.write = true}).error().code, Errc::io_error);
}

TEST_P(DiskTest, ManagesDirectoriesAndNames) {
    ASSERT_TRUE(disk_->create_directories(scratch_ / "x/y/z"));
    ASSERT_TRUE(disk_->create_directories(scratch_ / "x/y/z"));
    open_new("x/one");
    EXPECT_EQ(disk_->list(scratch_ / "x").value(), (std::vector<std::string>{"one", "y"}));
    ASSERT_TRUE(disk_->rename(scratch_ / "x/one", scratch_ / "x/two"));
    ASSERT_TRUE(disk_->sync_directory(scratch_ / "x"));
    EXPECT_FALSE(disk_->exists(scratch_ / "x/one").value());
    EXPECT_TRUE(disk_->exists(scratch_ / "x/two").value());
    EXPECT_FALSE(disk_->exists(scratch_ / "x/two/below-a-file").value());
    ASSERT_TRUE(disk_->remove(scratch_ / "x/two"));
    EXPECT_EQ(disk_->remove(scratch_ / "x/two").error().code, Errc::not_found);
    EXPECT_EQ(disk_->list(scratch_ / "absent").error().code, Errc::not_found);
    EXPECT_EQ(disk_->rename(scratch_ / "absent", scratch_ / "b").error().code, Errc::not_found);
}

TEST_P(DiskTest, LocksADirectoryForOneAtATime) {
    auto mine = lock_directory(*disk_, scratch_ / "x/y");
    ASSERT_TRUE(mine);
    EXPECT_EQ(lock_directory(*disk_, scratch_ / "x/y").error().code, Errc::in_use);
    ASSERT_TRUE(lock_directory(*disk_, scratch_ / "x"));
    mine->reset();
    ASSERT_TRUE(lock_directory(*disk_, scratch_ / "x/y"));
}

TEST_P(DiskTest, ListsInOneOrderEverywhere) {
    std::vector<std::string> names;
    for (int i = 0; i < 50; ++i) {
        names.push_back(std::to_string(i * 37 % 50));
        open_new(names.back().c_str());
    }
    std::ranges::sort(names);
    EXPECT_EQ(disk_->list(scratch_ / "").value(), names);
}

TEST_P(DiskTest, ResizesAndAllocates) {
    const auto file = open_new("a");
    ASSERT_TRUE(disk_->resize(*file, mib, true));
    EXPECT_EQ(file->size(), mib);
    struct stat status{};
    ASSERT_EQ(stat((scratch_ / "a").c_str(), &status), 0);
    EXPECT_GE(static_cast<std::uint64_t>(status.st_blocks) * 512, mib);
    ASSERT_TRUE(disk_->resize(*file, 10, false));
    EXPECT_EQ(file->size(), 10U);
    EXPECT_GT(disk_->free_bytes(scratch_ / ".").value(), 0U);
}

// On a file system that refuses at once what it can never hold: others fill up first, and every
// other program on this machine would see that.
TEST_P(DiskTest, AllocatingMoreThanThereIsIsDiskFull) {
    struct statvfs status{};
    std::string pattern = "/dev/shm/cw_disk_XXXXXX";
    struct statfs kind{};
    if (statfs("/dev/shm", &kind) != 0 || kind.f_type != TMPFS_MAGIC ||
        statvfs("/dev/shm", &status) != 0 || status.f_blocks == 0 ||
        mkdtemp(pattern.data()) == nullptr) {
        GTEST_SKIP() << "there is no tmpfs of a known size at /dev/shm";
    }
    const std::uint64_t all = static_cast<std::uint64_t>(status.f_blocks) * status.f_frsize;
    const auto file = disk_->open(pattern + "/a", {.write = true, .create = true});
    ASSERT_TRUE(file);
    EXPECT_EQ(disk_->resize(**file, all + gib, true).error().code, Errc::disk_full);
    std::filesystem::remove_all(pattern);
}

TEST(Paths, LieInADirectory) {
    EXPECT_EQ(parent_of("/a/b"), "/a");
    EXPECT_EQ(parent_of("/a"), "/");
    EXPECT_EQ(parent_of("a/b"), "a");
    EXPECT_EQ(parent_of("a"), ".");
}

TEST_P(DiskTest, ReplacesWholeFilesAtomically) {
    const std::string path = scratch_ / "settings";
    ASSERT_TRUE(write_file_atomically(*disk_, path, as_bytes("first"), 0640));
    ASSERT_TRUE(write_file_atomically(*disk_, path + ".new", as_bytes("left over"), 0600));
    ASSERT_TRUE(write_file_atomically(*disk_, path, as_bytes("second"), 0640));
    EXPECT_EQ(as_text(read_file(*disk_, path, 100).value()), "second");
    EXPECT_FALSE(disk_->exists(path + ".new").value());
    struct stat status{};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0640U);
    EXPECT_EQ(read_file(*disk_, path, 5).error().code, Errc::io_error);
    EXPECT_EQ(read_file(*disk_, path + "x", 5).error().code, Errc::not_found);
}

// A list of revocations that was a pipe, read as an empty one, would let everybody in.
TEST_P(DiskTest, TakesNoPipeDirectoryOrDeviceForAnEmptyFile) {
    const std::string pipe = scratch_ / "pipe", directory = scratch_ / "directory";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    ASSERT_TRUE(disk_->create_directories(directory));
    for (const std::string& path : {pipe, directory, std::string("/dev/zero")}) {
        const auto read = read_file(*disk_, path, 100);  // Nobody writes: it must not wait.
        ASSERT_FALSE(read) << path;
        EXPECT_EQ(read.error().code, Errc::config_invalid) << path;
        EXPECT_TRUE(read.error().detail.contains(path)) << read.error().detail;
        EXPECT_FALSE(read.error().next.empty()) << path;
    }
}

// What lies in /proc has content, and says that it has no byte.
TEST_P(DiskTest, ReadsAFileThatTellsNoSizeToItsEnd) {
    std::ifstream same("/proc/self/status");
    const std::string first_line = [&] {
        std::string line;
        std::getline(same, line);
        return line;
    }();
    const auto read = read_file(*disk_, "/proc/self/status", mib);
    ASSERT_TRUE(read) << to_string(read.error());
    EXPECT_TRUE(as_text(*read).starts_with(first_line));
    const auto too_long = read_file(*disk_, "/proc/self/status", 20);
    ASSERT_FALSE(too_long);
    EXPECT_EQ(too_long.error().code, Errc::io_error);
}

TEST_P(DiskTest, LeavesNothingOfAFileThatCouldNotBeWritten) {
    const std::string path = scratch_ / "taken";
    ASSERT_TRUE(disk_->create_directories(path));
    EXPECT_FALSE(write_file_atomically(*disk_, path, as_bytes("content")));
    EXPECT_EQ(disk_->list(parent_of(path)).value(), std::vector<std::string>{"taken"});
}

// The same random operations on every disk leave the same bytes as in memory.
TEST_P(DiskTest, AgreesWithAModelOverRandomOperations) {
    constexpr std::size_t blocks = 64;
    const auto file = open_new("a", true);
    const auto random = make_seeded_random(99);
    ASSERT_TRUE(disk_->resize(*file, blocks * block_bytes, false));
    const AlignedBuffer data(8 * block_bytes), all(blocks * block_bytes);
    ByteVector model(blocks * block_bytes);
    for (int i = 0; i < 300; ++i) {
        const std::uint64_t first = random->below(blocks - 8);
        const std::uint64_t count = 1 + random->below(8);
        const auto part = data.bytes().first(count * block_bytes);
        if (random->below(3) > 0) {
            random->fill(part);
            ASSERT_TRUE(write_at(*disk_, *file, first * block_bytes, part, random->below(4) == 0));
            std::ranges::copy(part, model.begin() + static_cast<long>(first * block_bytes));
        } else {
            ASSERT_EQ(read_at(*disk_, *file, first * block_bytes, part).value(), part.size());
            ASSERT_TRUE(
                std::ranges::equal(part, Bytes(model).subspan(first * block_bytes, part.size())));
        }
    }
    ASSERT_EQ(read_at(*disk_, *file, 0, all.bytes()).value(), model.size());
    EXPECT_TRUE(std::ranges::equal(all.bytes(), model));
}

TEST(BestDisk, Works) {
    const ScratchDirectory scratch;
    const auto disk = make_best_disk(8);
    ASSERT_TRUE(write_file_atomically(*disk, scratch / "a", as_bytes("x")));
    EXPECT_EQ(as_text(read_file(*disk, scratch / "a", 10).value()), "x");
}

}  // namespace
}  // namespace cw
