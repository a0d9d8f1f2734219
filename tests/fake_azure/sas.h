// Shared access signatures, made and checked as the service does for versions from 2020-12-06.
#pragma once

#include "base/bytes.h"

#include <map>
#include <optional>
#include <string>

namespace cw::fake_azure {

struct AccountSas {
    std::string permissions = "rwdlac";
    std::string services = "b";
    std::string resource_types = "sco";
    std::string start = {};  // "YYYY-MM-DDTHH:MM:SSZ", may be empty.
    std::string expiry;
    std::string protocol = "https,http";
    std::string version = "2023-11-03";
};

struct ServiceSas {
    std::string permissions = "racwdl";
    std::string start = {};
    std::string expiry;
    std::string protocol = "https,http";
    std::string version = "2023-11-03";
    std::string container;
    std::string blob = {};  // Empty: the whole container.
};

// Query strings without '?'. `key`: the decoded account key.
std::string make_account_sas(const AccountSas& sas, const std::string& account, Bytes key);
std::string make_service_sas(const ServiceSas& sas, const std::string& account, Bytes key);

// The signature alone, base64.
std::string sign_account_sas(const AccountSas& sas, const std::string& account, Bytes key);
std::string sign_service_sas(const ServiceSas& sas, const std::string& account, Bytes key);

// "2027-01-01T00:00:00Z" as Unix seconds.
std::optional<std::int64_t> parse_iso_time(std::string_view text);

}  // namespace cw::fake_azure
