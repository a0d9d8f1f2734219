// Signing vectors: computed by a signer whose requests Azurite accepted.
#include "egress/blob/azure_sign.h"
#include "tests/fake_azure/sas.h"

#include <gtest/gtest.h>

namespace cw::blob {
namespace {

constexpr std::string_view account = "devstoreaccount1";
constexpr std::string_view key_text =  // The emulators' public key.
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

ByteVector key() {
    return from_base64(key_text).value();
}

std::string signature(const HttpRequest& request) {
    const std::string text = shared_key_authorization(request, account, key());
    return text.substr(text.find(':') + 1);
}

HttpRequest request(std::string method, std::string path) {
    HttpRequest http;
    http.method = std::move(method);
    http.path = std::move(path);
    http.headers = {{"x-ms-version", "2023-11-03"}, {"x-ms-date", "Fri, 20 Nov 2026 15:56:27 GMT"}};
    return http;
}

TEST(SharedKey, SignsAPutAsTheReferenceDoes) {
    HttpRequest http = request("PUT", "/devstoreaccount1/cont1/b1");
    http.headers.emplace_back("if-none-match", "*");
    http.headers.emplace_back("x-ms-content-crc64", "vo7q9sPVKY0=");
    http.headers.emplace_back("x-ms-blob-type", "BlockBlob");
    http.body = {as_bytes("hello "), as_bytes("world")};
    EXPECT_EQ(string_to_sign(http, account),
              "PUT\n\n\n11\n\n\n\n\n\n*\n\n\nx-ms-blob-type:BlockBlob\n"
              "x-ms-content-crc64:vo7q9sPVKY0=\nx-ms-date:Fri, 20 Nov 2026 15:56:27 GMT\n"
              "x-ms-version:2023-11-03\n/devstoreaccount1/devstoreaccount1/cont1/b1");
    EXPECT_EQ(signature(http), "l0glqqfFXWj/+9NkvL2Kqi4BuAfNzXismgeHh2GoG7s=");
}

TEST(SharedKey, SignsAtTheSecondaryRegionWhatItWouldSignAtTheFirst) {
    EXPECT_EQ(string_to_sign(request("GET", "/devstoreaccount1-secondary/cont1/b1"), account),
              string_to_sign(request("GET", "/devstoreaccount1/cont1/b1"), account));
    EXPECT_EQ(string_to_sign(request("GET", "/cont1/b1"), account),
              string_to_sign(request("GET", "/cont1/b1"), account));
}

TEST(SharedKey, SignsALeaseWithItsQuery) {
    HttpRequest http = request("PUT", "/devstoreaccount1/cont1/b1");
    http.query = {{"timeout", "20"}, {"comp", "lease"}};
    http.headers.emplace_back("x-ms-lease-action", "acquire");
    http.headers.emplace_back("x-ms-lease-duration", "15");
    http.headers.emplace_back("x-ms-proposed-lease-id", "d5838ea0-0c17-4349-9d4b-b49dd246067b");
    EXPECT_EQ(signature(http), "i3F/ilhywbHilVtzKElJMa835LYlNubQxcdsOHg+1/E=");
}

TEST(SharedKey, SignsQueryParametersDecodedAndSorted) {
    HttpRequest http = request("GET", "/devstoreaccount1/cont1");
    http.query = {{"restype", "container"},
                  {"comp", "list"},
                  {"include", "snapshots,metadata"},
                  {"prefix", "a/b"},
                  {"maxresults", "3"}};
    EXPECT_TRUE(string_to_sign(http, account)
                    .ends_with("/devstoreaccount1/devstoreaccount1/cont1\ncomp:list\n"
                               "include:snapshots,metadata\nmaxresults:3\nprefix:a/b\n"
                               "restype:container"));
    EXPECT_EQ(signature(http), "3c8GySN4IAffJrg7ORL4HiC33BOj/MEpgqGROmwqINE=");
}

TEST(SharedKey, JoinsSeveralValuesOfOneParameterSorted) {
    HttpRequest http = request("GET", "/c");
    http.query = {{"include", "b"}, {"include", "a"}};
    EXPECT_TRUE(string_to_sign(http, "acct").ends_with("/acct/c\ninclude:a,b"));
}

TEST(Sas, AccountSignatureMatchesTheReference) {
    const fake_azure::AccountSas sas{
        .permissions = "rwdlac", .expiry = "2027-01-01T00:00:00Z", .protocol = "https"};
    EXPECT_EQ(fake_azure::sign_account_sas(sas, std::string(account), key()),
              "XMdGthiy1YGyzAERuTdmjktb3ixAQspYQO/+zvr1ajE=");
}

TEST(Sas, ServiceSignatureMatchesTheReference) {
    const fake_azure::ServiceSas sas{.permissions = "racwdl",
                                     .expiry = "2027-01-01T00:00:00Z",
                                     .protocol = "https",
                                     .container = "cont1"};
    EXPECT_EQ(fake_azure::sign_service_sas(sas, std::string(account), key()),
              "sMfNQ6mfazA2YEX5J5jJysdRm37+LCbhheSnY1x1FiI=");
}

}  // namespace
}  // namespace cw::blob
