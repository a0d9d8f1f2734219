#include "ingest/wire/enrolment.h"

#include <gtest/gtest.h>

namespace cw::wire {
namespace {

TEST(EnrolMessage, RoundTrips) {
    EnrolRequest request;
    request.token = Secret(std::string(40, 'a'));
    request.csr = "-----BEGIN";
    request.name = "web1";
    request.machine = MachineId{{std::byte{1}}};
    const auto read = parse_enrol_request(encode(request).reveal());
    ASSERT_TRUE(read);
    EXPECT_EQ(read->token.reveal(), request.token.reveal());
    EXPECT_EQ(read->csr, request.csr);
    EXPECT_EQ(read->name, request.name);
    EXPECT_EQ(read->machine, request.machine);

    const EnrolAnswer answer{MachineId{{std::byte{2}}}, "CERT", "CAS", 9443};
    const auto told = parse_enrol_answer(encode(answer));
    ASSERT_TRUE(told);
    EXPECT_EQ(told->machine, answer.machine);
    EXPECT_EQ(told->certificate, answer.certificate);
    EXPECT_EQ(told->authorities, answer.authorities);
    EXPECT_EQ(told->replication_port, answer.replication_port);
}

TEST(EnrolMessage, OtherTextIsRefused) {
    for (const std::string& bad :
         {std::string(), std::string("[]"), std::string("{}"), std::string(R"({"csr":1})"),
          std::string(R"({"csr":"x","token":[]})"), std::string(R"({"csr":"x","machine":"../.."})"),
          std::string(R"({"csr":")") + std::string(enrol_bytes_max, 'x') + "\"}",
          std::string(100'000, '[')}) {
        EXPECT_EQ(parse_enrol_request(bad).error().code, Errc::usage) << bad.substr(0, 80);
    }
    const std::string head =
        R"({"machine":"6ba7b810-9dad-41d1-80b4-00c04fd430c8","certificate":"c","authorities":"a",)";
    EXPECT_TRUE(parse_enrol_answer(head + R"("replication_port":1})"));
    for (const char* port : {"65536", "-1", "1.5", "\"1\"", "null"}) {
        EXPECT_EQ(parse_enrol_answer(head + "\"replication_port\":" + port + "}").error().code,
                  Errc::usage)
            << port;
    }
}

}  // namespace
}  // namespace cw::wire
