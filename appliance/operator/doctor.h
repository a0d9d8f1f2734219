// Doctor: is everything there that a bad day needs? Each check says what it looked at, how it is
// and what to do; together they are the whole path from the configuration to the vault's keys.
//
// Blocking; touches nothing.
#pragma once

#include "appliance/vault_access.h"

#include <string>
#include <vector>

namespace cw::appliance {

enum class CheckLevel : std::uint8_t { ok, warning, failed };
std::string_view name_of(CheckLevel level) noexcept;

struct DoctorCheck {
    std::string name;  // "certificate", "vault"
    CheckLevel level = CheckLevel::ok;
    std::string detail;  // What was seen; with the code, if it is an error.
    std::string next;    // Empty when it is well.
};

// The configuration has been read already. Never fails: what cannot be done is a finding.
std::vector<DoctorCheck> run_doctor(const config::Settings& settings, SystemSeams& seams);
CheckLevel worst_of(const std::vector<DoctorCheck>& checks) noexcept;

}  // namespace cw::appliance
