// The control port as strangers and operators find it.
#include "appliance/control_server.h"

#include "appliance/control_refusals.h"
#include "appliance/patient_question.h"
#include "tests/base/tls_fixture.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <httplib.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Connections that begin a long TLS record and send a byte of it now and then; whoever is cut off
// comes again.
class Crowd {
public:
    Crowd(std::uint16_t port, std::size_t size)
        : port_(port), thread_([this, size] { run(size); }) {}
    ~Crowd() { leaving_ = true; }
    [[nodiscard]] std::size_t present() const { return present_; }
    [[nodiscard]] std::size_t cut_off() const { return cut_off_; }

private:
    static bool is_open(const Fd& socket) {
        char byte = 0;
        const ssize_t count = ::recv(socket.get(), &byte, 1, MSG_DONTWAIT);
        return count > 0 || (count < 0 && errno == EAGAIN);
    }
    void run(std::size_t size) {
        std::vector<Fd> crowd;
        while (!leaving_) {
            const std::size_t before = crowd.size();
            std::erase_if(crowd, [](const Fd& member) {
                return !is_open(member) || ::send(member.get(), "\0", 1, MSG_NOSIGNAL) != 1;
            });
            cut_off_ += before - crowd.size();
            while (crowd.size() < size && !leaving_) {
                auto member = connect_tcp({"127.0.0.1", port_}, 200);
                if (!member ||
                    ::send(member->get(), "\x16\x03\x01\x40\x00", 5, MSG_NOSIGNAL) != 5) {
                    break;  // The kernel's queue is full.
                }
                crowd.push_back(std::move(*member));
            }
            present_ = crowd.size();
            ::poll(nullptr, 0, 50);  // The pace of the dribble.
        }
    }

    const std::uint16_t port_;
    std::atomic<bool> leaving_{false};
    std::atomic<std::size_t> present_{0}, cut_off_{0};
    std::jthread thread_;
};

class ControlServerTest : public TlsTest {
protected:
    void SetUp() override { issue("ca", Role::operator_, "operator"); }
    void start(ControlDoor::Patience patience) {
        ControlHandlers handlers;
        handlers.metrics = [] { return std::string("causeway_test 1\n"); };
        handlers.get = [](const std::string& name) -> Result<std::string> { return "{}" + name; };
        handlers.post = [](const std::string&, const std::string&) -> Result<std::string> {
            return std::string("{}");
        };
        auto started = ControlServer::start({.socket_path = socket_path_,
                                             .listen = "127.0.0.1:0",
                                             .tls = files("server"),
                                             .patience = patience},
                                            std::move(handlers));
        ASSERT_TRUE(started.has_value()) << to_string(started.error());
        server_ = std::move(*started);
    }
    // The HTTP status of one request of an operator, 0 when there was no answer.
    int ask() {
        httplib::SSLClient client("127.0.0.1", server_->port(), directory_ + "/operator.crt",
                                  directory_ + "/operator.key");
        client.set_ca_cert_path((directory_ + "/ca/ca.crt").c_str());
        client.set_connection_timeout(60);
        client.set_read_timeout(60);
        const httplib::Result answer = client.Get("/metrics");
        return answer ? answer->status : 0;
    }
    template <typename Condition>
    static bool within_a_minute(const Condition& holds) {
        const auto deadline = steady_clock::now() + std::chrono::seconds(60);
        while (!holds()) {
            if (steady_clock::now() > deadline) {
                return false;
            }
            ::poll(nullptr, 0, 10);
        }
        return true;
    }

    const std::string socket_path_ = directory_ + "/control.sock";
    std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, ACrowdOfStrangersCannotKeepItFromOperators) {
    start({.others_ns = ns_per_s / 2});
    Crowd crowd(server_->port(), ControlDoor::served_max + ControlDoor::waiting_max);
    ASSERT_TRUE(within_a_minute([&] { return crowd.present() >= 2 * ControlDoor::served_max; }));
    for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(within_a_minute([&] { return ask() == 200; }));
    }
    EXPECT_GT(crowd.cut_off(), 0U);
}

TEST_F(ControlServerTest, AStrangerWhoDribblesIsSentAwayEvenIfNobodyWaits) {
    start({.alone_ns = ns_per_s / 2});
    Crowd crowd(server_->port(), 1);
    EXPECT_TRUE(within_a_minute([&] { return crowd.cut_off() >= 2; }));
}

TEST_F(ControlServerTest, AnOperatorMayTakeLongerThanAStranger) {
    const std::int64_t alone_ns = ns_per_s;
    start({.alone_ns = alone_ns});
    const auto context = TlsContext::client(files("operator"));
    ASSERT_TRUE(context.has_value());
    Fd socket;
    Ssl operator_end(nullptr, SSL_free);
    const auto say = [&](std::string_view text) {
        return SSL_write(operator_end.get(), text.data(), static_cast<int>(text.size())) > 0;
    };
    const auto hear = [&] {
        std::string answer;
        char some[4096];
        for (int count = 1; count > 0 && !answer.ends_with("causeway_test 1\n");) {
            count = SSL_read(operator_end.get(), some, sizeof some);
            answer.append(some, static_cast<std::size_t>(std::max(count, 0)));
        }
        return answer.starts_with("HTTP/1.1 200");
    };
    const std::string_view request = "GET /metrics HTTP/1.1\r\nHost: causeway\r\n\r\n";
    // Until its first request it is a stranger, and this machine may be slow.
    ASSERT_TRUE(within_a_minute([&] {
        operator_end.reset();
        auto connected = connect_tcp({"127.0.0.1", server_->port()}, 60'000);
        CW_ASSERT(connected.has_value());
        socket = std::move(*connected);
        CW_ASSERT(::fcntl(socket.get(), F_SETFL, 0) == 0);
        operator_end.reset(SSL_new(context->get()));
        SSL_set_fd(operator_end.get(), socket.get());
        return SSL_connect(operator_end.get()) == 1 && say(request) && hear();
    }));
    const auto enough = steady_clock::now() + std::chrono::nanoseconds(2 * alone_ns);
    ASSERT_TRUE(say("GET /metrics HTTP/1.1\r\nHost: cause"));
    while (steady_clock::now() < enough) {
        ::poll(nullptr, 0, 100);
        ASSERT_TRUE(say("w"));
    }
    EXPECT_TRUE(say("ay\r\n\r\n") && hear());
}

// What a connection of `context` that says nothing more came to be told of in the log.
class RefusedAtTheControlPort : public ControlServerTest {
protected:
    std::string logged_of(SSL_CTX* context) {
        testing::internal::CaptureStderr();
        start({.alone_ns = 60 * ns_per_s});
        {
            const Fd socket = connect_tcp({"127.0.0.1", server_->port()}, 60'000).value();
            CW_ASSERT(::fcntl(socket.get(), F_SETFL, 0) == 0);
            const Ssl client(SSL_new(context), SSL_free);
            SSL_set_fd(client.get(), socket.get());
            char byte = 0;
            EXPECT_FALSE(SSL_connect(client.get()) == 1 && SSL_read(client.get(), &byte, 1) == 1);
        }
        server_.reset();  // Every connection has been told of.
        return testing::internal::GetCapturedStderr();
    }
};

TEST_F(RefusedAtTheControlPort, H4_AMachinesCertificateIsToldWithItsReason) {
    const auto context = TlsContext::client(files("client")).value();
    const std::string log = logged_of(context.get());
    EXPECT_THAT(log, HasSubstr("warning control.tls.refused peer=127.0.0.1:"));
    EXPECT_THAT(log, HasSubstr("TLS_FAILED"));
    EXPECT_THAT(log, HasSubstr("application verification failure"));
    EXPECT_THAT(log, Not(HasSubstr("shutdown while in init")));
}

TEST_F(RefusedAtTheControlPort, H4_AnOldVersionAndAForeignSuiteAreTold) {
    const SslContext old = bare_client();
    SSL_CTX_set_min_proto_version(old.get(), TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
    EXPECT_THAT(logged_of(old.get()),
                AllOf(HasSubstr("control.tls.refused"), HasSubstr("unsupported protocol")));
    const SslContext foreign = bare_client();
    SSL_CTX_set_ciphersuites(foreign.get(), "TLS_AES_128_CCM_SHA256");
    EXPECT_THAT(logged_of(foreign.get()),
                AllOf(HasSubstr("control.tls.refused"), HasSubstr("no shared cipher")));
}

TEST_F(RefusedAtTheControlPort, H4_AStrangerWhoIsTooSlowIsTold) {
    testing::internal::CaptureStderr();
    start({.alone_ns = ns_per_s / 10});
    {
        Crowd crowd(server_->port(), 1);
        EXPECT_TRUE(within_a_minute([&] { return crowd.cut_off() >= 1; }));
    }
    server_.reset();
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr("control.tls.refused peer=127.0.0.1:"), HasSubstr("PEER_SLOW")));
}

TEST_F(RefusedAtTheControlPort, AnOperatorIsNot) {
    testing::internal::CaptureStderr();
    start({});
    EXPECT_EQ(ask(), 200);
    server_.reset();
    EXPECT_THAT(testing::internal::GetCapturedStderr(), Not(HasSubstr("refused")));
}

TEST(ControlRefusals, OfAFloodLeaveSomeLinesASecondAndTheNumberOfTheRest) {
    ControlRefusals refusals;
    testing::internal::CaptureStderr();
    for (int i = 0; i < 1000; ++i) {
        refusals.tell("control.tls.refused", "192.0.2.1:1", {Errc::tls_failed, "x"}, 0);
    }
    refusals.tell("control.tls.refused", "192.0.2.1:1", {Errc::tls_failed, "x"}, ns_per_s);
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_EQ(std::ranges::count(log, '\n'), 9);
    EXPECT_THAT(log, HasSubstr("left_out=992"));
}

// Whatever is wrong with a request, its answer says so: with code, cause and what to do.
TEST_F(ControlServerTest, AnswersEveryWrongRequestWithAnError) {
    start({});
    httplib::Client client(socket_path_, 80);
    client.set_address_family(AF_UNIX);
    const auto is_told = [](const httplib::Result& answer, int status, const std::string& code) {
        ASSERT_TRUE(answer) << httplib::to_string(answer.error());
        EXPECT_EQ(answer->status, status);
        EXPECT_EQ(answer->get_header_value("Content-Type"), "application/problem+json");
        const auto problem = nlohmann::json::parse(answer->body, nullptr, false);
        ASSERT_TRUE(problem.is_object()) << answer->body;
        EXPECT_EQ(problem.value("code", ""), code);
        for (const char* key : {"title", "detail", "next"}) {
            EXPECT_NE(problem.value(key, ""), "") << key;
        }
    };
    is_told(client.Get("/v2/status"), 404, "NOT_FOUND");
    is_told(client.Get("/v1/UPPER"), 404, "NOT_FOUND");
    is_told(client.Delete("/v1/status"), 404, "NOT_FOUND");
    is_told(client.Post("/v1/reload", std::string(300 * 1024, 'x'), "application/json"), 413,
            "USAGE");
    httplib::Request unknown;
    unknown.method = "BREW";
    unknown.path = "/v1/status";
    is_told(client.send(unknown), 400, "USAGE");
}

TEST_F(ControlServerTest, ItsSocketIsForItsOwnerWhateverTheMaskSays) {
    const mode_t mask = ::umask(0);
    start({});
    EXPECT_EQ(::umask(mask), 0U) << "the mask belongs to the whole process";
    struct stat status{};
    ASSERT_EQ(::stat(socket_path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST(PatientQuestionTest, SilenceIsBorneUntilItIsTooLongAndAnAnswerBeginsItAnew) {
    const std::string path = testing::TempDir() + "patient.sock";
    ::unlink(path.c_str());
    ManualClock clock;
    PatientQuestion question({.socket_path = path}, clock, 600 * ns_per_s);
    const auto silent = question.get("status");  // Nobody listens.
    ASSERT_TRUE(silent) << to_string(silent.error());
    EXPECT_FALSE(*silent);
    EXPECT_TRUE(question.silent());
    clock.advance(599 * ns_per_s);
    EXPECT_TRUE(question.get("status"));
    {
        httplib::Server daemon;
        daemon.set_address_family(AF_UNIX);
        daemon.Get("/v1/status", [](const httplib::Request&, httplib::Response& response) {
            response.set_content("fine", "text/plain");
        });
        ASSERT_TRUE(daemon.bind_to_port(path, 80));
        const std::jthread listening([&] { daemon.listen_after_bind(); });
        const auto answer = question.get("status");
        daemon.stop();
        ASSERT_TRUE(answer) << to_string(answer.error());
        EXPECT_EQ(*answer, "fine");
        EXPECT_FALSE(question.silent());
    }
    ::unlink(path.c_str());
    clock.advance(599 * ns_per_s);
    EXPECT_TRUE(question.get("status"));
    clock.advance(ns_per_s);
    const auto given_up = question.get("status");
    ASSERT_FALSE(given_up);
    EXPECT_EQ(given_up.error().code, Errc::unreachable);
    EXPECT_NE(given_up.error().detail.find("say the same command again"), std::string::npos);
}

TEST(ControlClientTest, AnAnswerThatIsNoneOfOursIsAnErrorAndNotTheEnd) {
    const std::string path = testing::TempDir() + "stranger.sock";
    ::unlink(path.c_str());
    httplib::Server stranger;
    stranger.set_address_family(AF_UNIX);
    stranger.Get("/v1/status", [](const httplib::Request&, httplib::Response& response) {
        response.status = 500;
        response.set_content(R"({"number":1001,"detail":{"a":1},"next":7})", "application/json");
    });
    ASSERT_TRUE(stranger.bind_to_port(path, 80));
    const std::jthread listening([&] { stranger.listen_after_bind(); });
    const auto answer = ControlClient{path, 60}.get("status");
    stranger.stop();
    ::unlink(path.c_str());
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Errc::io_error);
    EXPECT_EQ(advice_of(answer.error()), next_of(Errc::io_error));
}

}  // namespace
}  // namespace cw::appliance
