#include "base/net.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace cw {
namespace {

TEST(HostPort, ParsesTheThreeForms) {
    EXPECT_EQ(parse_host_port("example.org:9443").value().host, "example.org");
    EXPECT_EQ(parse_host_port("example.org:9443").value().port, 9443);
    EXPECT_EQ(parse_host_port("[::1]:80").value().host, "::1");
    EXPECT_EQ(parse_host_port(":0").value().host, "");
    EXPECT_EQ(to_string(parse_host_port("[::1]:80").value()), "[::1]:80");
    EXPECT_EQ(to_string(parse_host_port("a:1").value()), "a:1");
}

TEST(HostPort, RefusesEverythingElse) {
    for (const std::string& text :
         {std::string("a"), std::string("a:"), std::string("a:x"), std::string("a:65536"),
          std::string("a:-1"), std::string("::1:80"), std::string("[::1:80"), std::string("a:80 "),
          std::string("[a]b]:80"), std::string("[name]:80"), std::string("a b:80"),
          std::string(254, 'a') + ":1"}) {
        EXPECT_EQ(parse_host_port(text).error().code, Errc::usage) << text;
    }
}

class Loopback : public testing::TestWithParam<const char*> {};

TEST_P(Loopback, ConnectsToAListenerOnAPortTheKernelChose) {
    auto listener = listen_tcp({GetParam(), 0});
    if (!listener && std::string_view(GetParam()) == "::1") {
        GTEST_SKIP() << "no IPv6 on this machine";
    }
    ASSERT_TRUE(listener);
    const std::uint16_t port = local_port(*listener).value();
    EXPECT_GT(port, 0);
    const auto client = connect_tcp({GetParam(), port}, 5000);
    ASSERT_TRUE(client);
    ASSERT_TRUE(wait_fd(listener->get(), false, 5000).value());
    const Fd server(accept(listener->get(), nullptr, nullptr));
    ASSERT_TRUE(server.valid());
    EXPECT_EQ(peer_name(server.get()),
              to_string(HostPort{GetParam(), local_port(*client).value()}));
    EXPECT_FALSE(wait_fd(server.get(), false, 0).value());
    ASSERT_EQ(write(client->get(), "x", 1), 1);
    EXPECT_TRUE(wait_fd(server.get(), false, 5000).value());
}
INSTANTIATE_TEST_SUITE_P(Both, Loopback, testing::Values("127.0.0.1", "::1"),
                         [](const auto& test) { return test.index == 0 ? "v4" : "v6"; });

TEST(Net, ShowsAnIpv4PeerOfADualStackListenerAsIpv4) {
    const auto listener = listen_tcp({"", 0});
    ASSERT_TRUE(listener);
    const auto client = connect_tcp({"127.0.0.1", local_port(*listener).value()}, 5000);
    ASSERT_TRUE(client);
    ASSERT_TRUE(wait_fd(listener->get(), false, 5000).value());
    const Fd server(accept(listener->get(), nullptr, nullptr));
    EXPECT_TRUE(peer_name(server.get()).starts_with("127.0.0.1:"));
}

TEST(Net, SharedListenersHaveOnePort) {
    const auto first = listen_tcp({"127.0.0.1", 0}, true);
    ASSERT_TRUE(first);
    const std::uint16_t port = local_port(*first).value();
    EXPECT_TRUE(listen_tcp({"127.0.0.1", port}, true));
    EXPECT_EQ(listen_tcp({"127.0.0.1", port}, false).error().code, Errc::unreachable);
}

TEST(Net, ARefusedConnectionIsUnreachable) {
    std::uint16_t port = 0;
    {
        const auto listener = listen_tcp({"127.0.0.1", 0});
        ASSERT_TRUE(listener);
        port = local_port(*listener).value();
    }
    EXPECT_EQ(connect_tcp({"127.0.0.1", port}, 5000).error().code, Errc::unreachable);
    EXPECT_EQ(peer_name(-1), "?");
}

TEST(Fd, ClosesOnceAndMoves) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    Fd read_end(ends[0]);
    {
        Fd write_end(ends[1]);
        const Fd moved(std::move(write_end));
        // NOLINTNEXTLINE(bugprone-use-after-move,clang-analyzer-cplusplus.Move): the claim itself.
        EXPECT_FALSE(write_end.valid());
        EXPECT_TRUE(moved.valid());
    }
    char byte = 0;
    EXPECT_EQ(read(read_end.get(), &byte, 1), 0);  // The write end is closed.
}

}  // namespace
}  // namespace cw
