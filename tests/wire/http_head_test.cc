#include "ingest/wire/http_head.h"

#include "base/random.h"

#include <gtest/gtest.h>

namespace cw::wire {
namespace {

TEST(HttpHead, UpgradeRequestIsUnderstoodByTheParser) {
    const std::string text = build_upgrade_request("ps.example:9443");
    const auto end = find_head_end(as_bytes(text));
    ASSERT_TRUE(end);
    ASSERT_EQ(*end, text.size());
    const auto request = parse_request(as_bytes(text));
    ASSERT_TRUE(request) << to_string(request.error());
    EXPECT_EQ(request->method, "GET");
    EXPECT_EQ(request->path, upgrade_path);
    EXPECT_TRUE(lists_token(request->headers, "connection", "upgrade"));
    EXPECT_TRUE(lists_token(request->headers, "UPGRADE", upgrade_token));
    ASSERT_NE(find_header(request->headers, "host"), nullptr);
    EXPECT_EQ(*find_header(request->headers, "host"), "ps.example:9443");
}

TEST(HttpHead, UpgradeResponseIsAccepted) {
    const std::string text = build_upgrade_response();
    const auto response = parse_response(as_bytes(text));
    ASSERT_TRUE(response) << to_string(response.error());
    EXPECT_EQ(response->status, 101);
    EXPECT_TRUE(check_upgrade_response(*response));
}

TEST(HttpHead, RefusalsBecomeTheErrorTheClientActsOn) {
    const std::pair<int, Errc> cases[] = {
        {401, Errc::identity_refused}, {403, Errc::authz_denied}, {426, Errc::version_unsupported},
        {409, Errc::identity_refused}, {429, Errc::server_busy},  {503, Errc::server_busy},
        {404, Errc::unreachable},      {400, Errc::unreachable},  {500, Errc::unreachable},
        {200, Errc::unreachable},
    };
    for (const auto& [status, code] : cases) {
        const auto checked = check_upgrade_response({status, "x", {{"Retry-After", "7"}}});
        ASSERT_FALSE(checked) << status;
        EXPECT_EQ(checked.error().code, code) << status;
    }
    EXPECT_EQ(retry_after_of({503, "", {{"Retry-After", "7"}}}), 7U);
    EXPECT_EQ(retry_after_of({503, "", {{"Retry-After", "999999999"}}}), 86'400U);
    EXPECT_EQ(retry_after_of({503, "", {{"Retry-After", "99999999999999"}}}), 0U);
    EXPECT_EQ(retry_after_of({503, "", {{"Retry-After", "soon"}}}), 0U);
    EXPECT_FALSE(check_upgrade_response({101, "", {{"Upgrade", "websocket"}}}));
}

TEST(HttpHead, TheEndIsFoundOnlyWhenTheHeadIsWhole) {
    const std::string text = build_upgrade_request("h");
    for (std::size_t length = 0; length < text.size(); ++length) {
        const auto end = find_head_end(as_bytes(std::string_view(text).substr(0, length)));
        ASSERT_TRUE(end);
        EXPECT_FALSE(end->has_value()) << length;
    }
    EXPECT_FALSE(find_head_end(as_bytes(std::string(http_head_bytes_max, 'a'))));
    EXPECT_TRUE(find_head_end(as_bytes(std::string(http_head_bytes_max - 1, 'a'))));
}

TEST(HttpHead, HostileRequestsAreRefused) {
    const std::string cases[] = {
        "",
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/2\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET x HTTP/1.1\r\n\r\n",
        "G\x01T / HTTP/1.1\r\n\r\n",
        "GET /\x7f HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\n: empty name\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : blank\r\n\r\n",
        "GET / HTTP/1.1\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nX: \x01\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\ntrailing\r\n\r\n",
        std::string("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", 26),
    };
    for (const std::string& text : cases) {
        EXPECT_FALSE(parse_request(as_bytes(text))) << text;
    }
    std::string many = "GET / HTTP/1.1\r\n";
    for (std::size_t i = 0; i <= http_headers_max; ++i) {
        many += "X: y\r\n";
    }
    EXPECT_FALSE(parse_request(as_bytes(many + "\r\n")));
}

TEST(HttpHead, HostileAnswersAreRefused) {
    for (const std::string_view text :
         {"HTTP/1.1\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n",
          "HTTP/1.1 600 x\r\n\r\n", "HTTP/1.1 2x0 x\r\n\r\n", "HTTP/1.1 2000\r\n\r\n",
          "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 -10 x\r\n\r\n", "ICY 200 OK\r\n\r\n"}) {
        EXPECT_FALSE(parse_response(as_bytes(text))) << text;
    }
}

TEST(HttpHead, MutatedHeadsNeverCrashTheParser) {
    const auto random = make_seeded_random(3);
    const std::string good = build_upgrade_request("ps.example");
    for (int round = 0; round < 20'000; ++round) {
        std::string text = good;
        for (std::uint64_t flips = 1 + random->below(4); flips > 0; --flips) {
            text[random->below(text.size())] = static_cast<char>(random->below(256));
        }
        if (const auto request = parse_request(as_bytes(text)); request) {
            EXPECT_TRUE(request->path.starts_with('/'));
        }
        (void)parse_response(as_bytes(text));
    }
}

TEST(HttpHead, AnswersCarryTheLengthOfTheirBody) {
    const std::string text = build_response({404, "Not Found", {{"Connection", "close"}}}, "gone");
    EXPECT_EQ(text, "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngone");
}

}  // namespace
}  // namespace cw::wire
