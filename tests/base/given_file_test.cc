#include "base/given_file.h"

#include "base/assert.h"
#include "base/ids.h"
#include "base/net.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw {
namespace {

class GivenFile : public testing::Test {
protected:
    GivenFile() { CW_ASSERT(mkdtemp(directory_.data()) != nullptr); }
    ~GivenFile() override { std::filesystem::remove_all(directory_); }

    Result<ByteVector> read(const std::string& path, std::size_t max = mib) {
        return read_given_file(*disk_, path, max);
    }
    static void write_all(int fd, std::string_view text) {
        CW_ASSERT(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }

    std::string directory_ = testing::TempDir() + "cw_given_XXXXXX";
    std::unique_ptr<Disk> disk_ = make_posix_disk();
};

// What a shell makes of <(…): its writer may have ended before anybody reads.
TEST_F(GivenFile, ComesWholeOutOfThePipeOfAnotherProgram) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const Fd out(ends[0]);
    Fd in(ends[1]);
    write_all(in.get(), "[vault]\n");
    write_all(in.get(), "url = \"dir:///v\"\n");
    in.reset();
    const auto bytes = read("/proc/self/fd/" + std::to_string(out.get()));
    ASSERT_TRUE(bytes) << to_string(bytes.error());
    EXPECT_EQ(as_text(*bytes), "[vault]\nurl = \"dir:///v\"\n");
}

TEST_F(GivenFile, IsWaitedForWhereAPipeHasANameAndNoWriterYet) {
    const std::string path = directory_ + "/pipe";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    Fd second_end;  // Lets the writer go, whoever has not read.
    const std::jthread writer([&] {
        const Fd in(::open(path.c_str(), O_WRONLY | O_CLOEXEC));  // Waits for the reader.
        write_all(in.get(), "late");
    });
    const auto bytes = read(path);
    second_end = Fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    ASSERT_TRUE(bytes) << to_string(bytes.error());
    EXPECT_EQ(as_text(*bytes), "late");
}

TEST_F(GivenFile, WithoutAnEndIsRefusedByName) {
    const auto bytes = read("/dev/zero", 4096);
    ASSERT_FALSE(bytes);
    EXPECT_EQ(bytes.error().code, Errc::io_error);
    EXPECT_TRUE(bytes.error().detail.contains("/dev/zero has more than the 4096 bytes"))
        << bytes.error().detail;
}

TEST_F(GivenFile, OfTheUsualKindIsReadAsEver) {
    std::ofstream(directory_ + "/a") << "content";
    EXPECT_EQ(as_text(read(directory_ + "/a").value()), "content");
    EXPECT_EQ(read(directory_ + "/none").error().code, Errc::not_found);
    EXPECT_EQ(read(directory_).error().code, Errc::config_invalid);
    EXPECT_TRUE(read("/dev/null").value().empty());
}

}  // namespace
}  // namespace cw
