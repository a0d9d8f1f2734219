// The rigs of blob_test: everything that runs inside this process.
#include "tests/blob/rigs_azure.h"
#include "tests/blob/rigs_local.h"

namespace cw::blob {

std::vector<RigMaker> contract_rigs() {
    const auto azure = [](FakeFlavour flavour) {
        return [flavour] { return make_fake_azure_rig(flavour); };
    };
    return {{"Directory", make_directory_rig},
            {"Memory", make_memory_rig},
            {"AzureSharedKeyHttp", azure(FakeFlavour::shared_key_http)},
            {"AzureSharedKeyHostStyle", azure(FakeFlavour::shared_key_host_style)},
            {"AzureSharedKeyHttps", azure(FakeFlavour::shared_key_https)},
            {"AzureSas", azure(FakeFlavour::sas)},
            {"AzureBearer", azure(FakeFlavour::bearer)}};
}

}  // namespace cw::blob
