#include "agent/nbd/nbd_server.h"
#include "tests/agent/harness.h"

#include <cstdlib>
#include <fstream>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

template <std::unsigned_integral T>
void put(ByteVector& out, T value) {
    for (std::size_t i = sizeof(T); i-- > 0;) {
        out.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
}

ByteVector option(std::uint32_t number, Bytes data) {
    ByteVector out;
    put(out, std::uint64_t{0x49484156454f5054});
    put(out, number);
    put(out, static_cast<std::uint32_t>(data.size()));
    out.insert(out.end(), data.begin(), data.end());
    return out;
}

ByteVector go(std::string_view name) {
    ByteVector data;
    put(data, static_cast<std::uint32_t>(name.size()));
    data.insert(data.end(), as_bytes(name).begin(), as_bytes(name).end());
    put(data, std::uint16_t{0});
    return option(7, data);
}

ByteVector request(std::uint16_t flags, std::uint16_t type, std::uint64_t offset,
                   std::uint32_t length) {
    ByteVector out;
    put(out, std::uint32_t{0x25609513});
    put(out, flags);
    put(out, type);
    put(out, std::uint64_t{0x1234});
    put(out, offset);
    put(out, length);
    return out;
}

class RawClient {
public:
    explicit RawClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
                  0);
        const timeval limit{10, 0};
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        EXPECT_EQ(receive(18).size(), 18U);
    }
    void send(const ByteVector& bytes) {
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    // Less than `count` when the server closed.
    ByteVector receive(std::size_t count) {
        ByteVector out(count);
        const ssize_t n = ::recv(socket_.get(), out.data(), count, MSG_WAITALL);
        out.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
        return out;
    }
    void start() {
        send({std::byte{0}, std::byte{0}, std::byte{0}, std::byte{3}});
        send(go(""));
        receive(20 + 12 + 20 + 14 + 20);
    }
    std::uint32_t reply_error() {
        const ByteVector reply = receive(16);
        return reply.size() < 16 ? UINT32_MAX : static_cast<std::uint32_t>(reply[7]);
    }

private:
    Fd socket_;
};

class Nbd : public testing::Test {
protected:
    Nbd() : path_(h_.directory + "/nbd.sock") {
        server_ = NbdServer::listen_unix(path_, {{"disk0", h_.captures[0].get()}}).value();
    }
    ~Nbd() override { server_.reset(); }
    int run(const std::string& command) {
        return std::system((command + " >/dev/null 2>&1").c_str());
    }
    [[nodiscard]] std::string url() const { return "nbd+unix:///?socket=" + path_; }
    Harness h_{{.disk_bytes = 16 * mib}};
    std::string path_;
    std::unique_ptr<NbdServer> server_;
};

TEST_F(Nbd, H10_SocketIsForItsOwnerOnly) {
    struct stat st{};
    ASSERT_EQ(::stat(path_.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0600U);
}

TEST_F(Nbd, ARealClientWritesReadsZeroesAndFlushesAndThePointHasIt) {
    if (run("which qemu-io") != 0) {
        GTEST_SKIP() << "qemu-io is not installed";
    }
    ASSERT_TRUE(h_.run_until_protected());
    EXPECT_EQ(run("qemu-io -f raw -c 'write -P 0xab 64k 300k' -c 'write -z 128k 64k' "
                  "-c 'discard 1M 1M' -c 'write -P 7 8M 4M' -c flush -c 'read -P 0xab 64k 64k' "
                  "-c 'read -P 0 128k 64k' '" +
                  url() + "'"),
              0);
    const ByteVector image = h_.images[0]->copy();
    EXPECT_EQ(image[64 * kib], std::byte{0xab});
    EXPECT_EQ(image[130 * kib], std::byte{0});
    EXPECT_EQ(image[12 * mib - 1], std::byte{7});
    const auto id = h_.point();
    ASSERT_TRUE(h_.run_until(
        [&] { return h_.replicator->points().find(*id)->phase == PointPhase::committed; }));
    EXPECT_EQ(h_.check_points(), 1U);
    h_.expect_no_violations();
    EXPECT_EQ(run("qemu-img info '" + url() + "'"), 0);
}

TEST_F(Nbd, AFailingReadbackIsSeenByTheRealClient) {
    if (run("which qemu-io") != 0) {
        GTEST_SKIP() << "qemu-io is not installed";
    }
    EXPECT_NE(run("qemu-io -f raw -c 'read -P 0x55 0 4k' '" + url() + "'"), 0);
    h_.images[0]->fail_writes = true;
    EXPECT_NE(run("qemu-io -f raw -c 'write -P 1 0 4k' '" + url() + "'"), 0);
}

TEST_F(Nbd, RequestsOutsideTheDiskOrUnalignedAreRefusedAndTheStreamStaysInStep) {
    RawClient client(path_);
    client.start();
    client.send(request(0, 0, 16 * mib, 512));  // read beyond
    EXPECT_EQ(client.reply_error(), 22U);
    client.send(request(0, 0, 1, 512));  // unaligned
    EXPECT_EQ(client.reply_error(), 22U);
    client.send(request(0, 6, UINT64_MAX - 511, 512));  // overflow
    EXPECT_EQ(client.reply_error(), 28U);
    ByteVector late = request(0, 1, 16 * mib - 512, 1024);  // half beyond: payload is drained
    late.resize(late.size() + 1024);
    client.send(late);
    EXPECT_EQ(client.reply_error(), 28U);
    client.send(request(0x8000, 0, 0, 512));  // unknown flag
    EXPECT_EQ(client.reply_error(), 22U);
    client.send(request(0, 99, 0, 0));  // unknown command
    EXPECT_EQ(client.reply_error(), 22U);
    client.send(request(0, 3, 0, 0));
    EXPECT_EQ(client.reply_error(), 0U);
    client.send(request(0, 0, 0, 512));
    EXPECT_EQ(client.reply_error(), 0U);
    EXPECT_EQ(client.receive(512).size(), 512U);
}

TEST_F(Nbd, HostileNegotiationsEndTheConnectionAndNothingElse) {
    {
        RawClient client(path_);
        client.send({std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}});
        EXPECT_TRUE(client.receive(1).empty());
    }
    {
        RawClient client(path_);
        client.send({std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}});
        ByteVector huge;
        put(huge, std::uint64_t{0x49484156454f5054});
        put(huge, std::uint32_t{7});
        put(huge, std::uint32_t{0xffffffff});
        client.send(huge);
        EXPECT_TRUE(client.receive(1).empty());
    }
    {
        RawClient client(path_);
        client.start();
        client.send(request(0, 1, 0, 0xffffffff));  // a write of 4 GiB
        EXPECT_TRUE(client.receive(16).empty());
    }
    {
        RawClient client(path_);
        client.start();
        client.send(ByteVector(28, std::byte{0x41}));
        EXPECT_TRUE(client.receive(16).empty());
    }
    RawClient fine(path_);
    fine.start();
    fine.send(request(0, 3, 0, 0));
    EXPECT_EQ(fine.reply_error(), 0U);
}

TEST_F(Nbd, OptionsAreAnsweredAsTheProtocolSays) {
    const std::vector<NbdExport> exports{{"a", 4096}, {"b", 8192}};
    const auto feed = [&](const ByteVector& in) {
        NbdNegotiation negotiation(exports);
        ByteVector all{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{3}}, out;
        all.insert(all.end(), in.begin(), in.end());
        const auto used = negotiation.feed(all, out);
        return std::tuple(used, out, negotiation.chosen());
    };
    const auto reply_type = [](const ByteVector& out, std::size_t at) {
        return static_cast<unsigned>(out[at + 12]) << 24 | static_cast<unsigned>(out[at + 15]);
    };
    EXPECT_EQ(std::get<2>(feed(go("b"))), 1U);
    EXPECT_EQ(std::get<2>(feed(go(""))), 0U);
    EXPECT_EQ(reply_type(std::get<1>(feed(go("c"))), 0), 0x80000006U);
    EXPECT_EQ(reply_type(std::get<1>(feed(option(5, {}))), 0), 0x80000001U);  // STARTTLS
    EXPECT_EQ(reply_type(std::get<1>(feed(option(8, {}))), 0), 0x80000001U);  // structured replies
    EXPECT_EQ(reply_type(std::get<1>(feed(option(7, ByteVector(3)))), 0), 0x80000003U);
    const auto [listed, list, none] = feed(option(3, {}));
    EXPECT_EQ(list.size(), 2 * (20 + 4 + 1) + 20U);
    EXPECT_FALSE(none.has_value());
    EXPECT_EQ(std::get<0>(feed(option(2, {}))).error().code, Errc::cancelled);
    EXPECT_EQ(std::get<0>(feed(option(1, as_bytes("zz").size() ? ByteVector(2) : ByteVector())))
                  .error()
                  .code,
              Errc::not_found);
    ByteVector many;
    for (int i = 0; i < 70; ++i) {
        const ByteVector one = option(3, {});
        many.insert(many.end(), one.begin(), one.end());
    }
    EXPECT_FALSE(std::get<0>(feed(many)).has_value());
}

TEST_F(Nbd, AnyBytesInAnyPiecesNeverBreakTheParser) {
    const auto dice = make_seeded_random(7);
    const std::vector<NbdExport> exports{{"a", 4096}};
    for (int round = 0; round < 3000; ++round) {
        NbdNegotiation negotiation(exports);
        ByteVector in{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{3}};
        for (std::uint64_t i = dice->below(4); i > 0; --i) {
            ByteVector data(dice->below(24));
            dice->fill(data);
            ByteVector one = option(static_cast<std::uint32_t>(dice->below(9)), data);
            if (dice->below(3) == 0) {
                one[dice->below(one.size())] ^= std::byte{0x40};
            }
            in.insert(in.end(), one.begin(), one.end());
        }
        ByteVector whole_out, piece_out, held;
        const auto whole = negotiation.feed(in, whole_out);
        NbdNegotiation pieces(exports);
        bool failed = false;
        for (const std::byte b : in) {
            if (failed || pieces.chosen()) {
                break;
            }
            held.push_back(b);
            const auto used = pieces.feed(held, piece_out);
            failed = !used;
            held.erase(held.begin(), held.begin() + static_cast<long>(used.value_or(0)));
        }
        EXPECT_EQ(whole.has_value(), !failed);
        EXPECT_EQ(whole_out, piece_out);
    }
}

TEST_F(Nbd, AMirrorWhoseWriteHangsInUsIsLetGo) {
    const std::string path = path_ + "-mirror";
    const auto server =
        NbdServer::listen_unix(path, {{"disk", h_.captures[0].get()}}, NbdServer::Hanging::close);
    ASSERT_TRUE(server.has_value());
    RawClient client(path);
    client.start();
    auto held = h_.captures[0]->lock();  // As a state directory whose disk does not answer.
    ByteVector write = request(0, 1, 0, 512);
    write.resize(write.size() + 512, std::byte{1});
    client.send(write);
    EXPECT_TRUE(client.receive(16).empty());  // Closed, while the write still hangs.
    held.unlock();
    RawClient next(path);
    next.start();
    next.send(request(0, 3, 0, 0));
    EXPECT_EQ(next.reply_error(), 0U);
}

TEST_F(Nbd, OnlyLoopbackAddressesAreListenedOn) {
    const auto refused = NbdServer::listen_loopback({"0.0.0.0", 0}, {{"d", h_.captures[0].get()}});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Errc::usage);
    const auto fine = NbdServer::listen_loopback({"127.0.0.1", 0}, {{"d", h_.captures[0].get()}});
    ASSERT_TRUE(fine.has_value());
    EXPECT_NE((*fine)->port(), 0);
}

}  // namespace
}  // namespace cw::agent::test
