// The fake is strict: what Azure refuses, it refuses. What the contract suite cannot reach with our
// client, which never sends such requests, is sent here by hand.
#include "tests/fake_azure/fake_azure.h"

#include "base/checksum.h"
#include "egress/blob/authorizer.h"
#include "tests/fake_azure/rules.h"

#include <gtest/gtest.h>

namespace cw::fake_azure {
namespace {

using blob::HttpReply;
using blob::HttpRequest;
using Headers = blob::HttpHeaders;

class Fake : public testing::Test {
protected:
    Fake() { EXPECT_EQ(send("PUT", "/box", {}, {{"restype", "container"}}).status, 201); }

    HttpReply send(std::string method, const std::string& path, Headers headers = {},
                   blob::HttpQuery query = {}, std::string_view body = {}) {
        HttpRequest request;
        request.method = std::move(method);
        request.origin = fake_.origin();
        request.path = std::string("/") + test_account + path;
        request.headers = std::move(headers);
        request.query = std::move(query);
        request.body = {as_bytes(body)};
        request.headers.emplace_back("x-ms-version", "2023-11-03");
        if (blob::header_of(request.headers, "x-ms-date").empty()) {
            request.headers.emplace_back("x-ms-date", blob::format_http_date(now_s()));
        }
        authorizer_->sign(request);
        return transfer(std::move(request));
    }
    HttpReply transfer(HttpRequest request) {
        HttpReply result;
        bool done = false;
        client_.start(std::move(request), [&](HttpReply& reply) {
            result = std::move(reply);
            done = true;
        });
        for (int i = 0; i < 5000 && !done; ++i) {
            client_.wait(10 * ns_per_ms, -1);
            client_.poll();
        }
        return result;
    }
    HttpReply put(const std::string& path, Headers headers, std::string_view body = "hello") {
        headers.emplace_back("x-ms-blob-type", "BlockBlob");
        return send("PUT", path, std::move(headers), {}, body);
    }
    static std::string code(const HttpReply& reply) {
        return std::to_string(reply.status) + " " +
               std::string(blob::header_of(reply.headers, "x-ms-error-code"));
    }
    std::int64_t now_s() { return static_cast<std::int64_t>(clock_->wall()) / 1'000'000; }

    FakeAzure fake_{{}};
    std::unique_ptr<Clock> clock_ = make_system_clock();
    blob::HttpClient client_{{}, *clock_};
    std::unique_ptr<blob::Authorizer> authorizer_ = blob::make_shared_key_authorizer(
        test_account, Secret<std::string>(std::string(as_text(from_base64(test_key).value()))));
};

TEST_F(Fake, ChecksTheBodyAgainstItsChecksum) {
    const std::string right = crc64_text(crc64nvme(as_bytes("hello")));
    const HttpReply stored = put("/box/a", {{"x-ms-content-crc64", right}});
    EXPECT_EQ(stored.status, 201);
    EXPECT_EQ(blob::header_of(stored.headers, "x-ms-content-crc64"), right);
    EXPECT_EQ(code(put("/box/b", {{"x-ms-content-crc64", "AAAAAAAAAAA="}})), "400 Crc64Mismatch");
    EXPECT_EQ(code(put("/box/b", {{"content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="}})),
              "400 Md5Mismatch");
    EXPECT_EQ(put("/box/b", {{"content-md5", "XUFAKrxLKna5cZ2REBfFkg=="}}).status, 201);
    EXPECT_EQ(code(put("/box/b", {{"content-md5", "XUFAKrxLKna5cZ2REBfFkg=="},
                                  {"x-ms-content-crc64", right}})),
              "400 BothCrc64AndMd5HeaderPresent");
}

TEST_F(Fake, RefusesOldDatesWrongVersionsAndAnonymity) {
    const std::string old = blob::format_http_date(now_s() - 16 * 60);
    EXPECT_EQ(code(put("/box/a", {{"x-ms-date", old}})), "403 AuthenticationFailed");
    HttpRequest anonymous;
    anonymous.origin = fake_.origin();
    anonymous.path = std::string("/") + test_account + "/box/a";
    anonymous.headers = {{"x-ms-version", "2023-11-03"}};
    EXPECT_EQ(code(transfer(std::move(anonymous))), "401 NoAuthenticationInformation");
    HttpRequest unversioned;
    unversioned.origin = fake_.origin();
    unversioned.path = std::string("/") + test_account + "/box/a";
    EXPECT_EQ(code(transfer(std::move(unversioned))), "400 InvalidHeaderValue");
}

TEST_F(Fake, RefusesBearerTokensOverPlainHttp) {
    HttpRequest request;
    request.origin = fake_.origin();
    request.path = std::string("/") + test_account + "/box/a";
    request.headers = {{"x-ms-version", "2023-11-03"}};
    request.authorization = Secret<std::string>("Bearer " + fake_.issue_token(60));
    EXPECT_EQ(code(transfer(std::move(request))), "403 AuthenticationFailed");
}

TEST_F(Fake, ChecksNamesAndMetadata) {
    EXPECT_EQ(code(send("PUT", "/box--d", {}, {{"restype", "container"}})),
              "400 InvalidResourceName");
    EXPECT_EQ(code(send("PUT", "/cc", {}, {{"restype", "container"}})), "400 OutOfRangeInput");
    EXPECT_EQ(code(put("/box/x.", {})), "400 InvalidResourceName");
    EXPECT_EQ(code(put("/box/x", {{"x-ms-meta-a-b", "v"}})), "400 InvalidMetadata");
    EXPECT_EQ(code(put("/box/x", {{"x-ms-meta-a", std::string(8192, 'v')}})),
              "400 MetadataTooLarge");
    EXPECT_EQ(code(put("/nothere/x", {})), "404 ContainerNotFound");
}

TEST_F(Fake, DeletedContainerStaysBeingDeletedForAWhile) {
    EXPECT_EQ(send("DELETE", "/box", {}, {{"restype", "container"}}).status, 202);
    EXPECT_EQ(code(send("PUT", "/box", {}, {{"restype", "container"}})),
              "409 ContainerBeingDeleted");
    EXPECT_EQ(code(put("/box/x", {})), "409 ContainerBeingDeleted");
    fake_.advance(31 * ns_per_s);
    EXPECT_EQ(send("PUT", "/box", {}, {{"restype", "container"}}).status, 201);
}

TEST_F(Fake, PageWritesAreAlignedBoundedAndFencedBySequenceNumber) {
    const auto page = [&](const std::string& range, const char* sequence, std::size_t bytes) {
        return code(send("PUT", "/box/disk",
                         {{"x-ms-page-write", "update"},
                          {"x-ms-range", range},
                          {"x-ms-if-sequence-number-eq", sequence}},
                         {{"comp", "page"}}, std::string(bytes, 'p')));
    };
    ASSERT_EQ(send("PUT", "/box/disk",
                   {{"x-ms-blob-type", "PageBlob"},
                    {"x-ms-blob-content-length", "8388608"},
                    {"x-ms-blob-sequence-number", "5"}})
                  .status,
              201);
    EXPECT_EQ(page("bytes=512-1535", "5", 1024), "201 ");
    EXPECT_EQ(page("bytes=512-1535", "4", 1024), "412 SequenceNumberConditionNotMet");
    EXPECT_EQ(page("bytes=1-512", "5", 512), "400 InvalidPageRange");
    EXPECT_EQ(page("bytes=8388608-8389119", "5", 512), "416 InvalidPageRange");
    EXPECT_EQ(page("bytes=0-4194815", "5", 4'194'816), "413 RequestBodyTooLarge");
    EXPECT_EQ(page("bytes=0-511", "5", 1024), "400 InvalidHeaderValue");
    const HttpReply ranges = send("GET", "/box/disk", {}, {{"comp", "pagelist"}});
    EXPECT_NE(as_text(ranges.body).find("<Start>512</Start><End>1535</End>"), std::string::npos);
    EXPECT_EQ(
        send("PUT", "/box/disk", {{"x-ms-page-write", "clear"}, {"x-ms-range", "bytes=512-1023"}},
             {{"comp", "page"}})
            .status,
        201);
    const HttpReply rest = send("GET", "/box/disk", {{"x-ms-range", "bytes=0-1535"}});
    ASSERT_EQ(rest.body.size(), 1536U);
    EXPECT_EQ(rest.body[1023], std::byte{0});
    EXPECT_EQ(rest.body[1024], std::byte{'p'});
    EXPECT_EQ(send("PUT", "/box/disk",
                   {{"x-ms-sequence-number-action", "max"}, {"x-ms-blob-sequence-number", "6"}},
                   {{"comp", "properties"}})
                  .status,
              200);
    EXPECT_EQ(page("bytes=512-1535", "5", 1024), "412 SequenceNumberConditionNotMet");
}

TEST_F(Fake, BlocksBecomeABlobOnlyWhenListed) {
    const auto block = [&](const char* id, std::string_view body) {
        return code(send("PUT", "/box/blocks", {}, {{"comp", "block"}, {"blockid", id}}, body));
    };
    EXPECT_EQ(block("YWE=", "hello "), "201 ");
    EXPECT_EQ(block("YmI=", "world"), "201 ");
    EXPECT_EQ(block("bG9uZ2Vy", "x"), "400 InvalidBlobOrBlock");
    EXPECT_EQ(code(send("HEAD", "/box/blocks")), "404 BlobNotFound");
    const auto list = [&](std::string_view xml) {
        return code(send("PUT", "/box/blocks", {}, {{"comp", "blocklist"}}, xml));
    };
    EXPECT_EQ(list("<BlockList><Latest>Y2M=</Latest></BlockList>"), "400 InvalidBlockList");
    EXPECT_EQ(list("<BlockList><Latest>YWE=</Latest><Latest>YmI=</Latest></BlockList>"), "201 ");
    EXPECT_EQ(as_text(send("GET", "/box/blocks").body), "hello world");
}

TEST_F(Fake, ArchivedBlobIsOffline) {
    ASSERT_EQ(put("/box/a", {}).status, 201);
    ASSERT_EQ(send("PUT", "/box/a", {{"x-ms-access-tier", "Archive"}}, {{"comp", "tier"}}).status,
              200);
    EXPECT_EQ(code(send("GET", "/box/a")), "409 BlobArchived");
    EXPECT_EQ(send("HEAD", "/box/a").status, 200);
}

TEST_F(Fake, FaultsAreSetAndStatisticsReadOverHttp) {
    HttpRequest rules;
    rules.method = "POST";
    rules.origin = fake_.origin();
    rules.path = "/__fake/faults";
    rules.form = Secret<std::string>(R"([{"op":"put_blob","action":"throttle","count":1}])");
    EXPECT_EQ(transfer(std::move(rules)).status, 200);
    EXPECT_EQ(code(put("/box/a", {})), "503 ServerBusy");
    EXPECT_EQ(code(put("/box/a", {})), "201 ");
    HttpRequest question;
    question.origin = fake_.origin();
    question.path = "/__fake/stats";
    const HttpReply stats = transfer(std::move(question));
    EXPECT_NE(as_text(stats.body).find(R"("put_blob":{"201":1,"503 ServerBusy":1})"),
              std::string::npos);
    HttpRequest wrong;
    wrong.method = "POST";
    wrong.origin = fake_.origin();
    wrong.path = "/__fake/faults";
    wrong.form = Secret<std::string>(R"([{"action":"explode"}])");
    EXPECT_EQ(transfer(std::move(wrong)).status, 400);
}

TEST_F(Fake, SinkChecksWhatItThrowsAway) {
    FakeAzureOptions options;
    options.discard = true;
    FakeAzure sink(options);
    const std::string body(1 << 20, 'x');
    HttpRequest create;
    const auto signed_request = [&](HttpRequest request) {
        request.origin = sink.origin();
        request.method = "PUT";
        request.headers.emplace_back("x-ms-version", "2023-11-03");
        request.headers.emplace_back("x-ms-date", blob::format_http_date(now_s()));
        authorizer_->sign(request);
        return transfer(std::move(request));
    };
    create.path = std::string("/") + test_account + "/bin";
    create.query = {{"restype", "container"}};
    ASSERT_EQ(signed_request(std::move(create)).status, 201);
    for (const bool right : {true, false}) {
        HttpRequest request;
        request.path = std::string("/") + test_account + "/bin/x";
        request.body = {as_bytes(body)};
        request.headers = {
            {"x-ms-blob-type", "BlockBlob"},
            {"x-ms-content-crc64", crc64_text(crc64nvme(as_bytes(body)) ^ (right ? 0 : 1))}};
        EXPECT_EQ(code(signed_request(std::move(request))), right ? "201 " : "400 Crc64Mismatch");
    }
}

}  // namespace
}  // namespace cw::fake_azure
