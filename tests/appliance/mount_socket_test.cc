// A mount takes over the socket that a killed mount has left, and nothing else that lies there.
#include "appliance/operator/mount_socket.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

Fd bound(const std::string& path) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
}
Fd listening(const std::string& path) {
    Fd fd = bound(path);
    EXPECT_EQ(::listen(fd.get(), 1), 0);
    return fd;
}
bool connects(const std::string& path) {
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

class MountSockets : public ::testing::Test {
protected:
    // A mount that is killed: nothing of it is tidied up.
    void killed_mount(bool published = true) const {
        const pid_t pid = ::fork();
        if (pid == 0) {
            auto socket = MountSocket::claim(path_);
            const Fd server = listening((*socket)->directory() + "/nbd.sock");
            ::_exit(!published || (*socket)->publish() ? 0 : 1);
        }
        int status = -1;
        ASSERT_EQ(::waitpid(pid, &status, 0), pid);
        ASSERT_EQ(status, 0);
    }
    [[nodiscard]] std::string refusal() const {
        const auto claimed = MountSocket::claim(path_);
        EXPECT_FALSE(claimed);
        EXPECT_EQ(claimed.error().code, Errc::in_use);
        return claimed.error().detail;
    }

    const ScratchDirectory place_ = *ScratchDirectory::make(temporary_directory(), "socket-test");
    const std::string path_ = place_.path() + "/nbd.sock";
};

TEST_F(MountSockets, AreThereOnceTheServerListensAndGoWithTheMount) {
    {
        auto socket = MountSocket::claim(path_);
        ASSERT_TRUE(socket);
        const Fd server = listening((*socket)->directory() + "/nbd.sock");
        EXPECT_FALSE(fs::exists(path_));
        ASSERT_TRUE((*socket)->publish());
        EXPECT_TRUE(connects(path_));
        EXPECT_THAT(refusal(), HasSubstr("is locked"));
        EXPECT_TRUE(connects(path_));
    }
    EXPECT_TRUE(fs::is_empty(place_.path()));
}

TEST_F(MountSockets, OfAKilledMountAreTakenOver) {
    killed_mount();
    ASSERT_TRUE(fs::is_socket(path_));
    auto socket = MountSocket::claim(path_);
    ASSERT_TRUE(socket) << to_string(socket.error());
    const Fd server = listening((*socket)->directory() + "/nbd.sock");
    EXPECT_TRUE((*socket)->publish());
    EXPECT_TRUE(connects(path_));
    socket->reset();
    EXPECT_TRUE(fs::is_empty(place_.path()));
}

TEST_F(MountSockets, OfAMountKilledBeforeItWasReadyAreInNobodysWay) {
    killed_mount(false);
    EXPECT_FALSE(fs::exists(path_));
    EXPECT_TRUE(MountSocket::claim(path_));
    EXPECT_TRUE(fs::is_empty(place_.path()));
}

TEST_F(MountSockets, ThatNoMountHasLeftStayAlthoughNobodyListens) {
    bound(path_).reset();
    EXPECT_THAT(refusal(), HasSubstr("no mount of this program has left it"));
    EXPECT_TRUE(fs::is_socket(path_));
}

TEST_F(MountSockets, MadeWhereAKilledMountHadItsOwnStay) {
    killed_mount();
    fs::remove(path_);
    bound(path_).reset();
    EXPECT_THAT(refusal(), HasSubstr("no mount of this program has left it"));
    EXPECT_TRUE(fs::is_socket(path_));
}

// A mount is killed, and its server has not noticed yet.
TEST_F(MountSockets, ThatSomebodyServesStayAndAreTakenOverOnceHeIsGone) {
    Fd server;
    {
        auto killed = MountSocket::claim(path_);
        ASSERT_TRUE(killed);
        server = listening((*killed)->directory() + "/nbd.sock");
        ASSERT_TRUE((*killed)->publish());
        fs::create_hard_link(path_, path_ + ".kept");
        fs::copy_file(path_ + ".mount-lock", path_ + ".kept-lock");
    }
    fs::rename(path_ + ".kept", path_);
    fs::rename(path_ + ".kept-lock", path_ + ".mount-lock");
    EXPECT_THAT(refusal(), HasSubstr("somebody listens"));
    EXPECT_TRUE(connects(path_));
    server.reset();
    EXPECT_TRUE(MountSocket::claim(path_));
}

TEST_F(MountSockets, DoNotReplaceAFile) {
    std::ofstream(path_) << "theirs";
    EXPECT_THAT(refusal(), HasSubstr("exists"));
    EXPECT_TRUE(fs::is_regular_file(path_));
}

TEST_F(MountSockets, MadeWhileTheMountBeganStay) {
    auto socket = MountSocket::claim(path_);
    ASSERT_TRUE(socket);
    const Fd server = listening((*socket)->directory() + "/nbd.sock");
    std::ofstream(path_) << "theirs";
    EXPECT_EQ((*socket)->publish().error().code, Errc::in_use);
    socket->reset();
    EXPECT_TRUE(fs::is_regular_file(path_));
}

TEST_F(MountSockets, ALockThatIsNoMountsStays) {
    std::ofstream(path_ + ".mount-lock") << "theirs";
    EXPECT_THAT(refusal(), HasSubstr("is not a mount's"));
    EXPECT_EQ(fs::file_size(path_ + ".mount-lock"), 6U);
}

}  // namespace
}  // namespace cw::appliance
