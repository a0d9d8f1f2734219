#include "tests/ingest/test_certificates.h"

#include "base/assert.h"
#include "tests/ingest/agent_frames.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <stdlib.h>

namespace cw::test {

TestCertificates::TestCertificates() : directory_(testing::TempDir() + "cw-certs-XXXXXX") {
    CW_ASSERT(::mkdtemp(directory_.data()) != nullptr);
    CW_ASSERT(create_ca(directory_, "test CA", 86'400));
}

TestCertificates::~TestCertificates() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

TlsFiles TestCertificates::files(const Identity& identity, std::int64_t valid_seconds) {
    const std::string prefix = directory_ + "/" + std::to_string(static_cast<int>(identity.role)) +
                               "-" + uuid_text(identity.id);
    if (!std::filesystem::exists(prefix + ".crt")) {
        const CertificateRequest request{.identity = identity,
                                         .common_name = "test",
                                         .dns_or_ip = "localhost,127.0.0.1",
                                         .valid_seconds = valid_seconds};
        const auto issued = issue_certificate(directory_, request, prefix);
        CW_ASSERT(issued);
    }
    return {.ca_file = directory_ + "/ca.crt",
            .cert_file = prefix + ".crt",
            .key_file = prefix + ".key"};
}

TlsFiles TestCertificates::machine(std::uint8_t seed) {
    return files({Role::machine, id_of<MachineId>(seed).bytes});
}

}  // namespace cw::test
