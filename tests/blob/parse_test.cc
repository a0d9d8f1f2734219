// The grammars the client reads: dates, headers, ranges, XML, URLs, tokens.
#include "egress/blob/azure_endpoint.h"
#include "egress/blob/azure_xml.h"
#include "egress/blob/directory_sidecar.h"
#include "egress/blob/http_client.h"
#include "egress/blob/token_source.h"

#include <gtest/gtest.h>

namespace cw::blob {
namespace {

TEST(HttpDate, RoundTripsThroughItsText) {
    EXPECT_EQ(format_http_date(1'795'190'187), "Fri, 20 Nov 2026 15:56:27 GMT");
    EXPECT_EQ(parse_http_date("Fri, 20 Nov 2026 15:56:27 GMT"), 1'795'190'187);
    for (std::int64_t s = 0; s < 4'000'000'000; s += 86'399 * 97) {
        EXPECT_EQ(parse_http_date(format_http_date(s)), s);
    }
}

TEST(HttpDate, RejectsOtherForms) {
    for (const std::string_view text :
         {"", "0", "Friday, 20-Nov-26 15:56:27 GMT", "Fri, 20 Nov 2026 15:56:27 UTC",
          "Fri, 20 Nox 2026 15:56:27 GMT", "Fri, 32 Nov 2026 15:56:27 GMT",
          "Fri, 20 Nov 2026 24:56:27 GMT", "Fri, 20 Nov 2026 15-56-27 GMT",
          "Fri, 20 Nov 1969 15:56:27 GMT", "Fri, 2a Nov 2026 15:56:27 GMT"}) {
        EXPECT_FALSE(parse_http_date(text)) << text;
    }
}

TEST(HttpHeader, LowersNamesAndTrimsValues) {
    const auto header = parse_header_line("X-MS-Error-Code:  BlobNotFound \r\n");
    ASSERT_TRUE(header);
    EXPECT_EQ(header->first, "x-ms-error-code");
    EXPECT_EQ(header->second, "BlobNotFound");
    EXPECT_FALSE(parse_header_line("no colon\r\n"));
    EXPECT_FALSE(parse_header_line(": no name\r\n"));
    EXPECT_FALSE(parse_header_line("bad name: x\r\n"));
}

TEST(ContentRange, AcceptsOnlyConsistentNumbers) {
    EXPECT_EQ(parse_content_range("bytes 2-5/11"), (ContentRange{2, 5, 11}));
    for (const std::string_view text :
         {"", "bytes */11", "bytes 5-2/11", "bytes 2-11/11", "bytes 2-5/*", "items 2-5/11",
          "bytes 2-5", "bytes -5/11", "bytes 99999999999999999999-5/11"}) {
        EXPECT_FALSE(parse_content_range(text)) << text;
    }
}

TEST(RetryAfter, ReadsSecondsMillisecondsAndDates) {
    EXPECT_EQ(parse_retry_after_ns({{"retry-after", "3"}}, 0), 3 * ns_per_s);
    EXPECT_EQ(parse_retry_after_ns({{"x-ms-retry-after-ms", "250"}}, 0), 250 * ns_per_ms);
    EXPECT_EQ(parse_retry_after_ns({{"retry-after", "9"}, {"retry-after-ms", "20"}}, 0),
              20 * ns_per_ms);
    EXPECT_EQ(
        parse_retry_after_ns({{"retry-after", "Fri, 20 Nov 2026 15:56:27 GMT"}}, 1'795'190'180),
        7 * ns_per_s);
    EXPECT_EQ(
        parse_retry_after_ns({{"retry-after", "Fri, 20 Nov 2026 15:56:27 GMT"}}, 1'795'190'999), 0);
    EXPECT_EQ(parse_retry_after_ns({{"retry-after", "99999999999"}}, 0), 3600 * ns_per_s);
    EXPECT_FALSE(parse_retry_after_ns({{"retry-after", "soon"}}, 0));
    EXPECT_FALSE(parse_retry_after_ns({}, 0));
}

TEST(PercentEncode, KeepsOnlyUnreserved) {
    EXPECT_EQ(percent_encode("aZ9-._~/ +=&\xc3\xa9"), "aZ9-._~%2F%20%2B%3D%26%C3%A9");
    EXPECT_EQ(percent_encode("a/b", true), "a/b");
}

TEST(ErrorBody, YieldsTheCodeFromXmlJsonOrNothing) {
    EXPECT_EQ(parse_error_code(as_bytes("\xEF\xBB\xBF<?xml version=\"1.0\"?><Error><Code>ServerBusy"
                                        "</Code><Message>x</Message></Error>")),
              "ServerBusy");
    EXPECT_EQ(parse_error_code(as_bytes(R"({"error":{"code":"PathNotFound","message":"x"}})")),
              "PathNotFound");
    for (const std::string_view text :
         {"", "<html><body>Blocked</body></html>", "{", "[]", R"({"error":7})",
          R"({"error":{"code":7}})", "<Error></Error>", "\x1f\x8b\x08"}) {
        EXPECT_EQ(parse_error_code(as_bytes(text)), "") << text;
    }
    const std::string huge = "<Error><Code>" + std::string(500, 'x') + "</Code></Error>";
    EXPECT_EQ(parse_error_code(as_bytes(huge)), "");
}

TEST(ListBody, ResolvesEntitiesOfTheMarker) {
    const auto page = parse_list(as_bytes(
        "<?xml version=\"1.0\"?><EnumerationResults><Blobs>"
        "<Blob><Name>b</Name><Properties><Content-Length>7</Content-Length></Properties></Blob>"
        "<Blob><Name>a</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>"
        "</Blobs><NextMarker>2!&amp;&lt;x</NextMarker></EnumerationResults>"));
    ASSERT_TRUE(page);
    ASSERT_EQ(page->entries.size(), 2U);
    EXPECT_EQ(page->entries[0].name, "a");
    EXPECT_EQ(page->entries[1].size, 7U);
    EXPECT_EQ(page->next, "2!&<x");
}

TEST(PageListBody, RangesAreJoinedAndOnlyThoseThatWereAskedFor) {
    const auto page =
        parse_page_list(as_bytes("\xef\xbb\xbf<?xml version=\"1.0\"?><PageList>"
                                 "<PageRange><Start>0</Start><End>1023</End></PageRange>"
                                 "<PageRange><Start>1024</Start><End>1535</End></PageRange>"
                                 "<ClearRange><Start>1536</Start><End>2047</End></ClearRange>"
                                 "<PageRange><Start>4096</Start><End>8191</End></PageRange>"
                                 "<PageRange><Start>9000</Start><End>9511</End></PageRange>"
                                 "<NextMarker>a&amp;b</NextMarker></PageList>"),
                        512, 8192 - 512);
    ASSERT_TRUE(page) << to_string(page.error());
    ASSERT_EQ(page->ranges.size(), 2U);
    EXPECT_EQ(page->ranges[0].offset, 512U);
    EXPECT_EQ(page->ranges[0].length, 1024U);
    EXPECT_EQ(page->ranges[1].offset, 4096U);
    EXPECT_EQ(page->ranges[1].length, 4096U);
    EXPECT_EQ(page->next, "a&b");
    EXPECT_TRUE(parse_page_list(as_bytes("<PageList/>"), 0, 512)->ranges.empty());
}

TEST(PageListBody, MalformedIsAnErrorNotAnEmptyDisk) {
    for (const std::string_view text :
         {"", "<html/>", "<PageList><PageRange/></PageList>",
          "<PageList><PageRange><Start>512</Start><End>0</End></PageRange></PageList>",
          "<PageList><PageRange><Start>512</Start><End>1023</End></PageRange>"
          "<PageRange><Start>0</Start><End>511</End></PageRange></PageList>",
          "<PageList><PageRange><Start>0</Start><End>18446744073709551615</End></PageRange>"
          "</PageList>"}) {
        EXPECT_FALSE(parse_page_list(as_bytes(text), 0, 4096)) << text;
    }
}

TEST(ListBody, MalformedIsAnErrorNotAnEmptyList) {
    for (const std::string_view text :
         {"", "<html/>", "<EnumerationResults/>", "<EnumerationResults><Blobs><Blob/></Blobs>",
          "<EnumerationResults><Blobs><Blob><Name>a</Name></Blob></Blobs></EnumerationResults>",
          ("<EnumerationResults><Blobs><Blob><Name>a</Name><Properties><Content-Length>-1"
           "</Content-Length></Properties></Blob></Blobs></EnumerationResults>")}) {
        EXPECT_FALSE(parse_list(as_bytes(text))) << text;
    }
}

// It would become part of the next request's address, which has its limits.
TEST(ListBody, AMarkerOfMegabytesIsNone) {
    const std::string marker = "<NextMarker>" + std::string(9'000'000, 'm') + "</NextMarker>";
    EXPECT_FALSE(
        parse_list(as_bytes("<EnumerationResults><Blobs/>" + marker + "</EnumerationResults>")));
    EXPECT_FALSE(parse_page_list(as_bytes("<PageList>" + marker + "</PageList>"), 0, 512));
}

TEST(AzureUrl, KnowsHostAndPathStyle) {
    const auto cloud = parse_azure_url("https://Acct1.blob.core.windows.net/site-a/");
    ASSERT_TRUE(cloud) << to_string(cloud.error());
    EXPECT_EQ(cloud->account, "acct1");
    EXPECT_EQ(cloud->container_path(Container::data), "/site-a-data");
    EXPECT_EQ(cloud->describe(), "https://acct1.blob.core.windows.net/site-a");
    const auto emulator = parse_azure_url("http://127.0.0.1:10000/devstoreaccount1");
    ASSERT_TRUE(emulator);
    EXPECT_EQ(emulator->object_path({Container::keys, "a/b"}), "/devstoreaccount1/keys/a/b");
    EXPECT_TRUE(parse_azure_url("https://acct1.z21.blob.storage.azure.net"));
    EXPECT_TRUE(parse_azure_url("http://[::1]:10000/acct1"));
}

TEST(AzureUrl, TellsTheSecondaryRegionOfAnAccount) {
    const auto cloud = parse_azure_url("https://acct1-secondary.blob.core.windows.net/site-a");
    ASSERT_TRUE(cloud) << to_string(cloud.error());
    EXPECT_TRUE(cloud->secondary);
    EXPECT_EQ(cloud->account, "acct1");
    EXPECT_EQ(cloud->container_path(Container::data), "/site-a-data");
    EXPECT_EQ(cloud->describe(), "https://acct1-secondary.blob.core.windows.net/site-a");
    const auto emulator = parse_azure_url("http://127.0.0.1:10000/acct1-secondary/site-a");
    ASSERT_TRUE(emulator);
    EXPECT_EQ(emulator->account, "acct1");
    EXPECT_EQ(emulator->container_path(Container::keys), "/acct1-secondary/site-a-keys");
    EXPECT_FALSE(parse_azure_url("https://acct1.blob.core.windows.net")->secondary);
    EXPECT_FALSE(parse_azure_url("https://-secondary.blob.core.windows.net"));
}

TEST(AzureUrl, RefusesWhatWouldLeakOrNotWork) {
    for (const std::string_view url :
         {"", "ftp://a", "https://", "http://acct1.blob.core.windows.net", "https://a.b.c/x",
          "https://acct1.blob.core.windows.net/a/b", "https://acct1.blob.core.windows.net/a--b",
          "https://acct1.blob.core.windows.net/-a", "https://127.0.0.1:1", "https://ac ct.x",
          "https://u:p@acct1.blob.core.windows.net"}) {
        EXPECT_FALSE(parse_azure_url(url)) << url;
    }
    const auto leak = parse_azure_url("https://acct1.blob.core.windows.net/?sig=canary");
    ASSERT_FALSE(leak);
    EXPECT_EQ(leak.error().detail.find("canary"), std::string::npos);
}

TEST(TokenReply, ReadsLifeAndRefreshTime) {
    const Nanos now{5};
    const auto token = parse_token(
        as_bytes(R"({"access_token":"abc","expires_in":"3600","token_type":"Bearer"})"), now);
    ASSERT_TRUE(token);
    EXPECT_EQ(token->value.reveal(), "abc");
    EXPECT_EQ(token->expires - now, 3600 * ns_per_s);
    EXPECT_EQ(token->refresh - now, 1800 * ns_per_s);
    const auto early =
        parse_token(as_bytes(R"({"access_token":"a","expires_in":3600,"refresh_in":600})"), now);
    ASSERT_TRUE(early);
    EXPECT_EQ(early->refresh - now, 600 * ns_per_s);
    const auto brief = parse_token(as_bytes(R"({"access_token":"a","expires_in":200})"), now);
    ASSERT_TRUE(brief);
    EXPECT_EQ(brief->refresh, now);
}

TEST(TokenReply, RefusesWhatIsNoToken) {
    for (const std::string_view text :
         {"", "{}", "[]", "null", R"({"access_token":7,"expires_in":1})", R"({"access_token":"a"})",
          R"({"access_token":"","expires_in":9})", R"({"access_token":"a b","expires_in":9})",
          R"({"access_token":"a\r\nx: y","expires_in":9})",
          R"({"access_token":"a","expires_in":-1})", R"({"access_token":"a","expires_in":0})",
          R"({"access_token":"a","expires_in":"x"})"}) {
        EXPECT_FALSE(parse_token(as_bytes(text), Nanos{0})) << text;
    }
}

TEST(Sidecar, MetadataFollowsTheVersionAcrossAnInterruptedOverwrite) {
    const std::string text =
        encode_metadata({{"b2-5", {{"nonce", "new"}}}, {"b1-4", {{"nonce", "old"}}}});
    const auto versions = decode_metadata(text);
    ASSERT_TRUE(versions);
    EXPECT_EQ(metadata_of(*versions, "b1-4"), (Metadata{{"nonce", "old"}}));
    EXPECT_EQ(metadata_of(*versions, "b2-5"), (Metadata{{"nonce", "new"}}));
    EXPECT_EQ(metadata_of(*versions, "b9-9"), Metadata{});
}

TEST(Sidecar, MetadataOfAnotherVersionIsNeverLent) {
    const auto versions = decode_metadata(encode_metadata({{"b1-4", {{"nonce", "n"}}}}));
    ASSERT_TRUE(versions);
    EXPECT_EQ(metadata_of(*versions, "ffff-4"), Metadata{});
}

TEST(Sidecar, TornOrForeignTextIsAnError) {
    const std::string text = encode_metadata({{"b1-4", {{"nonce", "n"}}}});
    EXPECT_FALSE(decode_metadata(text.substr(0, text.size() - 1)));
    for (const std::string_view bad :
         {"", "x\n", "causeway-metadata 1\nnonce=n\n", "causeway-metadata 1\nversion a\nbad\n",
          "causeway-metadata 1\nversion a\nversion b\nversion c\n"}) {
        EXPECT_FALSE(decode_metadata(bad)) << bad;
    }
}

}  // namespace
}  // namespace cw::blob
