#include "base/disk.h"
#include "base/enrolment.h"
#include "base/random.h"
#include "base/tls.h"
#include "tests/base/tls_fixture.h"

#include <memory>

#include <gtest/gtest.h>
#include <openssl/ui.h>
#include <sys/stat.h>

namespace cw {
namespace {

TEST_F(TlsTest, ACaIsNeverOverwritten) {
    EXPECT_EQ(create_ca(directory_ + "/ca", "Test CA", one_day_s).error().code, Errc::file_exists);
    struct stat status{};
    ASSERT_EQ(stat((directory_ + "/ca/ca.key").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(TlsTest, NamesThatWouldSmuggleAnotherIdentityAreRefused) {
    CertificateRequest request = request_for(Role::machine);
    for (const char* names :
         {"a:b", "host\nURI:urn:x", "URI:urn:causeway:operator", "a b", "a,,b"}) {
        request.dns_or_ip = names;
        EXPECT_EQ(issue_certificate(directory_ + "/ca", request, directory_ + "/x").error().code,
                  Errc::usage)
            << names;
    }
    request.dns_or_ip = "";
    request.common_name = "line\nbreak";
    EXPECT_FALSE(issue_certificate(directory_ + "/ca", request, directory_ + "/x"));
}

TEST_F(TlsTest, AMachineIsEnrolledWithoutItsKeyLeavingIt) {
    const std::string key_file = directory_ + "/enrolled.key";
    const std::string csr = request_certificate(key_file).value();
    EXPECT_EQ(csr.find("PRIVATE"), std::string::npos);
    const std::string certificate =
        sign_request(directory_ + "/ca", csr, request_for(Role::machine)).value();
    ASSERT_TRUE(write_file_atomically(*make_posix_disk(), directory_ + "/enrolled.crt",
                                      as_bytes(certificate)));
    ASSERT_TRUE(handshake(files("enrolled"), files("server")).server);
    EXPECT_EQ(peer_identity(server_.get()).value(), identity_of(Role::machine));
}

TEST_F(TlsTest, AForgedRequestIsRefused) {
    std::string csr = request_certificate(directory_ + "/forged.key").value();
    EXPECT_EQ(sign_request(directory_ + "/ca", "nonsense", request_for(Role::machine)).error().code,
              Errc::usage);
    // Near the end lies the signature: everything else stays well-formed.
    const std::size_t in_signature = csr.find("-----END") - 12;
    csr[in_signature] = csr[in_signature] == 'A' ? 'B' : 'A';
    EXPECT_EQ(sign_request(directory_ + "/ca", csr, request_for(Role::machine)).error().code,
              Errc::usage);
}

// Whoever is asked on a terminal of this process.
class AskedForPassword {
public:
    AskedForPassword() {
        UI_method_set_opener(method_.get(), [](UI* /*ui*/) { return ++times, 0; });
        UI_set_default_method(method_.get());
        times = 0;
    }
    ~AskedForPassword() { UI_set_default_method(nullptr); }
    AskedForPassword(const AskedForPassword&) = delete;
    AskedForPassword& operator=(const AskedForPassword&) = delete;

    static inline int times = 0;

private:
    std::unique_ptr<UI_METHOD, decltype(&UI_destroy_method)> method_{UI_create_method("counts"),
                                                                     UI_destroy_method};
};

TEST_F(TlsTest, AnEncryptedRequestIsRefusedAndNobodyIsAskedForItsPassword) {
    const std::string encrypted =
        "-----BEGIN CERTIFICATE REQUEST-----\nProc-Type: 4,ENCRYPTED\n"
        "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
        "WY5PEw08U+pQLl1K4y9mMQ==\n-----END CERTIFICATE REQUEST-----\n";
    const AskedForPassword asked;
    EXPECT_EQ(sign_request(directory_ + "/ca", encrypted, request_for(Role::machine)).error().code,
              Errc::usage);
    EXPECT_EQ(request_key_digest(encrypted).error().code, Errc::usage);
    EXPECT_EQ(AskedForPassword::times, 0);
}

// Its signature is right for a public key that is the point at infinity: such a key has no
// encoding, and anybody can sign for it.
TEST_F(TlsTest, ARequestForAKeyThatNeedsNoSecretIsRefused) {
    const std::string at_infinity =
        "-----BEGIN CERTIFICATE REQUEST-----\n"
        "MHowIgIBADAAMBkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDAgAAoAAwCgYIKoZIzj0E\n"
        "AwIDSAAwRQIgaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpYCIQDw4YBi\n"
        "Mj+NO54L6iJi6V+g3ybfM5PCuSh4Qr3LJFCtxQ==\n"
        "-----END CERTIFICATE REQUEST-----\n";
    EXPECT_EQ(request_key_digest(at_infinity).error().code, Errc::usage);
    EXPECT_EQ(
        sign_request(directory_ + "/ca", at_infinity, request_for(Role::machine)).error().code,
        Errc::usage);
}

TEST(Identity, RoundTripsAndRefusesOtherForms) {
    for (const Role role :
         {Role::machine, Role::process_server, Role::master_target, Role::operator_}) {
        const Identity identity{role, make_uuid_bytes(*make_seeded_random(1))};
        EXPECT_EQ(parse_identity(to_string(identity)).value(), identity);
    }
    const std::string uuid = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    EXPECT_EQ(to_string(parse_identity("urn:causeway:machine:" + uuid).value()),
              "urn:causeway:machine:" + uuid);
    for (const std::string& bad :
         {std::string(), uuid, "urn:causeway:" + uuid, "urn:causeway:root:" + uuid,
          "urn:causeway:machine" + uuid, "urn:causeway:machine:" + uuid + " ",
          "URN:CAUSEWAY:machine:" + uuid}) {
        EXPECT_EQ(parse_identity(bad).error().code, Errc::identity_refused) << bad;
    }
}

}  // namespace
}  // namespace cw
