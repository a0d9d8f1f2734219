// What a daemon would refuse is known before it is started.
#include "appliance/start_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using testing::HasSubstr;

void expect_refused(const config::Settings& settings, const std::string& why) {
    const auto checked = check_start(settings);
    ASSERT_FALSE(checked) << why;
    EXPECT_EQ(checked.error().code, Errc::config_invalid);
    EXPECT_THAT(checked.error().detail, HasSubstr(why));
}

TEST(StartCheck, AnEmptyConfigurationNamesNoVault) {
    expect_refused(config::parse_settings("", "file").value(), "vault.url is not set");
}

TEST(StartCheck, AVaultWithItsCredentialIsEnough) {
    config::Settings settings = config::default_settings();
    settings.vault_url = "dir:///srv/vault";
    EXPECT_TRUE(check_start(settings));
    settings.vault_url = "https://account.example/vault";
    settings.vault_auth = "sas";
    expect_refused(settings, "vault.sas_file is empty");
    settings.vault_sas_file = "/etc/causeway/sas";
    EXPECT_TRUE(check_start(settings));
}

TEST(StartCheck, AMasterTargetNeedsNoVaultButATarget) {
    config::Settings settings = config::default_settings();
    settings.server_role = "master-target";
    expect_refused(settings, "at least one [[target]]");
    settings.targets.push_back({.machine = "3f1e9a2c-0000-4000-8000-000000000001",
                                .disk = "vda",
                                .path = "/dev/vdb",
                                .identity = "",
                                .work = "",
                                .size_bytes = 0});
    EXPECT_TRUE(check_start(settings));
}

TEST(StartCheck, EnrolmentNeedsItsPort) {
    config::Settings settings = config::default_settings();
    settings.vault_url = "dir:///srv/vault";
    settings.security_enrol_ca = "/etc/causeway/ca";
    expect_refused(settings, "security.enrol_ca needs control.listen");
    settings.control_listen = "127.0.0.1:9444";
    EXPECT_TRUE(check_start(settings));
}

}  // namespace
}  // namespace cw::appliance
