#include "base/disk.h"
#include "base/random.h"
#include "base/tls.h"
#include "tests/base/tls_fixture.h"

#include <gtest/gtest.h>
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
