// Whom an agent believes to be its server.
#include "agent/session/tls_link.h"

#include "base/revocation.h"
#include "tests/agent/tls_model_server.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

class ServersIdentity : public testing::Test {
protected:
    ServersIdentity()
        : directory_(testing::TempDir() + "cw_tls_link_" + std::to_string(::getpid())) {
        std::filesystem::remove_all(directory_);
        std::filesystem::create_directories(directory_);
    }
    ~ServersIdentity() override { std::filesystem::remove_all(directory_); }

    Result<std::unique_ptr<Link>> connect(const TlsModelServer& server,
                                          const std::string& revoked_file = {}) {
        return connect_tls({.servers = {{"127.0.0.1", server.port()}},
                            .files = server.client_files(),
                            .revoked_file = revoked_file,
                            .timeout_ms = 60'000},
                           0);
    }
    std::string list(const std::string& entry) {
        const std::string path = directory_ + "/revoked";
        std::ofstream(path) << entry << '\n';
        return path;
    }

    const std::string directory_;
    const std::unique_ptr<Disk> disk_ = make_posix_disk();
};

// A takeover depends on it: what counts is the site's authority and the role in the URI.
TEST_F(ServersIdentity, IsThatOfAnyServerOfTheSiteWhateverItsNameIs) {
    const TlsModelServer server(directory_, "another.example");
    const auto link = connect(server);
    EXPECT_TRUE(link) << to_string(link.error());
}

// So a stolen key of one server would do for all of them, until it is on the list.
TEST_F(ServersIdentity, IsNotBelievedOnceItsCertificateIsRevoked) {
    const TlsModelServer server(directory_);
    EXPECT_TRUE(connect(server, list("# none")));
    const std::string serial = serial_of_file(*disk_, directory_ + "/server.crt").value();
    const auto refused = connect(server, list(serial));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::certificate_revoked);
}

TEST_F(ServersIdentity, IsNotBelievedWhileTheListCannotBeRead) {
    const TlsModelServer server(directory_);
    const std::string pipe = directory_ + "/pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    EXPECT_EQ(connect(server, directory_ + "/none").error().code, Errc::not_found);
    EXPECT_EQ(connect(server, pipe).error().code, Errc::config_invalid);
    EXPECT_EQ(connect(server, list("no serial number")).error().code, Errc::config_invalid);
}

}  // namespace
}  // namespace cw::agent::test
