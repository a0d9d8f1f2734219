#include "tests/blob/rigs_azure.h"

#include "base/random.h"
#include "egress/blob/azure_store.h"
#include "tests/fake_azure/certificate.h"
#include "tests/fake_azure/fake_azure.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::blob {
namespace {

using fake_azure::CertificateFiles;
using fake_azure::FakeAzure;
using fake_azure::FakeAzureOptions;

// One certificate for all tests of the process, removed at its end.
const CertificateFiles& certificate() {
    struct Files {
        std::string directory = testing::TempDir() + "cw-blob-tls-" + std::to_string(::getpid());
        CertificateFiles files;
        Files() {
            std::filesystem::create_directories(directory);
            files = fake_azure::make_certificate(directory);
        }
        ~Files() { std::filesystem::remove_all(directory); }
    };
    static const Files made;
    return made.files;
}

bool is_tls(FakeFlavour flavour) {
    return flavour == FakeFlavour::shared_key_https || flavour == FakeFlavour::bearer;
}

FakeAzureOptions fake_options(FakeFlavour flavour) {
    FakeAzureOptions options;
    if (is_tls(flavour)) {
        options.certificate = certificate().certificate;
        options.key = certificate().key;
    }
    return options;
}

class FakeAzureRig final : public Rig {
public:
    explicit FakeAzureRig(FakeFlavour flavour) : fake_(fake_options(flavour)) {
        AzureOptions options;
        options.url =
            (flavour == FakeFlavour::shared_key_host_style ? fake_.host_style_url() : fake_.url()) +
            "/contract";
        options.page_entries = 20;
        options.ca_file = is_tls(flavour) ? certificate().certificate : "";
        switch (flavour) {
            case FakeFlavour::shared_key_http:
            case FakeFlavour::shared_key_host_style:
            case FakeFlavour::shared_key_https:
                options.auth = AzureAuth::shared_key;
                options.secret = Secret<std::string>(fake_azure::test_key);
                break;
            case FakeFlavour::sas:
                options.auth = AzureAuth::sas;
                options.secret = Secret<std::string>(fake_.account_sas());
                break;
            case FakeFlavour::bearer:
                options.auth = AzureAuth::managed_identity;
                options.identity_endpoint = fake_.origin();
                break;
        }
        auto factory = make_azure_factory(std::move(options), *clock_, *random_);
        CW_ASSERT(factory.has_value());
        factory_ = std::move(*factory);
    }
    StoreFactory& factory() override { return *factory_; }

private:
    FakeAzure fake_;
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::unique_ptr<Random> random_ = make_system_random();
    std::unique_ptr<StoreFactory> factory_;
};

}  // namespace

std::unique_ptr<Rig> make_fake_azure_rig(FakeFlavour flavour) {
    return std::make_unique<FakeAzureRig>(flavour);
}

}  // namespace cw::blob
