// What a machine and a server say to each other when a certificate is given: one JSON object each
// way, in an HTTP POST to `enrol_path`. Pure functions; whether a token is good is not known here.
#pragma once

#include "base/error.h"
#include "base/ids.h"
#include "base/secret.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cw::wire {

inline constexpr std::string_view enrol_path = "/v1/enrol";
inline constexpr std::size_t enrol_bytes_max = 32 * 1024;  // Of either object.

struct EnrolRequest {
    Secret<std::string> token;  // The secret's hex digits; empty: renews what the peer has shown.
    std::string csr;            // PEM
    std::string name;           // Of the machine, for people; may be empty.
    std::optional<MachineId> machine;  // Who it was before, if it was anybody.
};

struct EnrolAnswer {
    MachineId machine;
    std::string certificate;  // PEM
    std::string authorities;  // PEM, one or more: whom the machine trusts from now on.
    std::uint16_t replication_port = 0;
};

Secret<std::string> encode(const EnrolRequest& request);
std::string encode(const EnrolAnswer& answer);
// Errors: usage (not an object of this kind, too long).
Result<EnrolRequest> parse_enrol_request(std::string_view text);
Result<EnrolAnswer> parse_enrol_answer(std::string_view text);

}  // namespace cw::wire
