// The fields of Settings by their rows: what reading a file and explaining it share.
#pragma once

#include "config/settings.h"

#include <string>
#include <string_view>

namespace cw::config {

std::string row_name(const SettingRow& row);  // "section.key"
// nullptr: no such setting.
const SettingRow* find_row(std::string_view section, std::string_view key);
// The number behind the text of a ranged kind: integer, bytes, duration. Errors: config_invalid.
Result<std::int64_t> parse_ranged(const SettingRow& row, std::string_view text);
// Sets the field of `row` from its text form. Errors: config_invalid, without the place.
Result<void> set_field(Settings& settings, const SettingRow& row, std::string_view text);
// How a field would be written in the file, without quotes.
std::string field_text(const Settings& settings, const SettingRow& row);

}  // namespace cw::config
