// Where a vault lives in Azure storage: from the configured URL to the path of one object.
//
//     https://<account>.blob.core.windows.net[/<prefix>]     any suffix: sovereign clouds, DNS
//     zones http://127.0.0.1:10000/<account>[/<prefix>]            emulators: the account is in the
//     path
//
// <account>-secondary is the account's copy in another region, which lags and can only be read.
//
// The four containers are data, manifest, keys and control, or <prefix>-data and so on.
#pragma once

#include "egress/blob/store.h"

namespace cw::blob {

inline constexpr std::string_view secondary_suffix = "-secondary";

struct AzureEndpoint {
    std::string origin;  // "https://host[:port]", lower case
    std::string account;
    std::string prefix;  // [a-z0-9-], may be empty
    bool path_style = false;
    bool secondary = false;

    [[nodiscard]] std::string account_path() const;  // "", or in path style "/account".
    [[nodiscard]] std::string container_path(Container container) const;  // "/[account/]container"
    // `name` has passed check_name(), so nothing needs encoding.
    [[nodiscard]] std::string object_path(const BlobName& name) const;
    [[nodiscard]] std::string describe() const;
};

// Hosts that are addresses or "localhost" are path style. Plain http is refused except to loopback
// addresses: it would show credentials. Errors: config_invalid; the text never repeats a query,
// because that is where people paste a SAS.
Result<AzureEndpoint> parse_azure_url(std::string_view url);

// Errors: config_invalid at the address of a secondary region; it says what works there.
Result<void> check_writable(const AzureEndpoint& endpoint);

}  // namespace cw::blob
