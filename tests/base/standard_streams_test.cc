#include "base/standard_streams.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw {
namespace {

// The number of the first file that a program opens which was started without the streams in
// `closed` (a bit each), or -1 if one of the streams cannot be written or read then.
int first_file_without(unsigned closed) {
    const pid_t program = ::fork();
    if (program == 0) {
        for (int stream = 0; stream < 3; ++stream) {
            if ((closed >> stream & 1) != 0) {
                ::close(stream);
            }
        }
        keep_standard_streams();
        char byte = 0;
        const bool usable = ((closed & 1) == 0 || ::read(0, &byte, 1) == 0) &&
                            ((closed & 2) == 0 || ::write(1, &byte, 1) == 1) &&
                            ((closed & 4) == 0 || ::write(2, &byte, 1) == 1);
        const int file = ::open("/", O_RDONLY | O_DIRECTORY);
        ::_exit(usable && file >= 0 ? file : 255);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(program, &status, 0), program);
    return WIFEXITED(status) && WEXITSTATUS(status) != 255 ? WEXITSTATUS(status) : -1;
}

TEST(StandardStreams, NoFileGetsTheNumberOfOneThatWasClosed) {
    const int usual = first_file_without(0);
    for (unsigned closed = 0; closed < 8; ++closed) {
        EXPECT_EQ(first_file_without(closed), usual) << "closed: " << closed;
    }
    EXPECT_GT(usual, STDERR_FILENO);
}

TEST(StandardStreams, OneThatIsOpenIsLeftAsItIs) {
    struct stat before{};
    struct stat after{};
    ASSERT_EQ(::fstat(STDERR_FILENO, &before), 0);
    keep_standard_streams();
    ASSERT_EQ(::fstat(STDERR_FILENO, &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino);
    EXPECT_EQ(before.st_dev, after.st_dev);
}

}  // namespace
}  // namespace cw
