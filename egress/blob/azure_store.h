// BlobStore on Azure Blob storage over libcurl.
//
// One connection per operation in flight, kept and reused; CRC-64 on every upload; the credential
// is refreshed ahead of time and, when the service refuses it, once again before the operation
// fails; then the stores of a factory ask once in 30 seconds (credential_gate.h). Requests are
// dated by the service's clock when this server's is wrong (service_clock.h). No other retries
// happen here: wrap the store in a RetryStore (retry_store.h).
#pragma once

#include "base/conditions.h"
#include "base/random.h"
#include "base/secret.h"
#include "egress/blob/send_pace.h"
#include "egress/blob/store.h"

#include <memory>

namespace cw::blob {

enum class AzureAuth : std::uint8_t {
    managed_identity,  // An Azure VM's identity.
    arc,               // A server on-premises that runs the Azure Arc agent.
    client_secret,     // An application's secret.
    sas,               // A shared access signature.
    shared_key,        // The account key.
    fixed_token,       // A bearer token, for emulators and tests.
    emulator,          // The well-known account and key of Azurite.
};
// "managed-identity", "arc", "client-secret", "sas", "shared-key", "fixed-token", "emulator".
// Errors: config_invalid.
Result<AzureAuth> parse_azure_auth(std::string_view text);

struct AzureOptions {
    std::string url = {};  // See azure_endpoint.h.
    AzureAuth auth = AzureAuth::managed_identity;
    // The account key (base64), SAS, client secret or fixed token, as `auth` needs.
    Secret<std::string> secret = {};
    std::string tenant = {};     // client_secret
    std::string client_id = {};  // client_secret; managed_identity: a user-assigned identity
    // Empty: the well-known endpoint of `auth` (IMDS, the local Arc agent, the public cloud).
    std::string identity_endpoint = {};
    std::string arc_key_directory = "/var/opt/azcmagent/tokens";

    std::string ca_file = {};  // PEM; empty: the system's trust store.
    std::string proxy = {};    // "http://host:port"; empty: none.
    bool crc64 = true;         // False for emulators that refuse it; `emulator` implies false.
    std::string api_version = "2023-11-03";
    std::size_t concurrency = 16;     // Operations in flight per store, until set_concurrency().
    std::size_t page_entries = 1000;  // Of a list; at most 5000.
    std::shared_ptr<const SendPace> pace;  // Shared with who sets it; null: none.
    Conditions* conditions = nullptr;      // Told of a wrong clock; outlives the stores.
    std::int64_t progress_timeout_ns = 20 * ns_per_s;
    std::int64_t reply_timeout_ns = 60 * ns_per_s;
};

// `clock` and `random` outlive the stores and are thread-safe if the stores are used on several
// threads. Errors: config_invalid.
Result<std::unique_ptr<StoreFactory>> make_azure_factory(AzureOptions options, Clock& clock,
                                                         Random& random);

}  // namespace cw::blob
