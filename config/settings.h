// Settings: every value that a person can choose, from the one table settings.def.
//
// The data plane never sees this: appliance/ fills small Options structs from it.
// Thread-safety: a value; loading is pure but for reading the file through a Disk.
#pragma once

#include "base/disk.h"
#include "base/error.h"
#include "base/ids.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cw::config {

enum class SettingKind : std::uint8_t { integer, bytes, duration, rate, boolean, text, choice };
enum class SettingLife : std::uint8_t { fixed, live };

struct SettingRow {
    std::string_view section, key;
    SettingKind kind;
    std::string_view fallback;  // As it would be written in the file.
    std::string_view min, max;  // integer, bytes, duration
    std::string_view choices;   // choice: a|b|c
    SettingLife life;
    std::string_view help;
};
// In the order of the table.
const std::vector<SettingRow>& setting_rows();

// [[egress.schedule]]: the first window that covers the local time gives the limit.
struct BandwidthWindow {
    std::uint8_t days = 0x7f;            // Bit 0 = Monday.
    std::uint16_t from_minute = 0;       // Of the local day.
    std::uint16_t to_minute = 0;         // Exclusive; <= from: wraps past midnight.
    std::uint64_t bytes_per_second = 0;  // 0: unlimited
    friend bool operator==(const BandwidthWindow&, const BandwidthWindow&) = default;
};

// [[target]]: where a master target writes one disk of one machine.
struct TargetEntry {
    std::string machine;           // UUID, lower case.
    std::string disk;              // Its UUID or its name at the agent.
    std::string path;              // Block device or image file.
    std::string identity;          // Who the device must be; empty: whoever it is at first.
    std::string work;              // Directory of overlay and redo log; empty: below state_dir.
    std::uint64_t size_bytes = 0;  // 0: that of `path`. Given: a missing file is created.
    friend bool operator==(const TargetEntry&, const TargetEntry&) = default;
};

// [[policy]]: what is different for one machine. What is absent is as for every machine.
struct PolicyEntry {
    std::string machine;  // UUID, lower case.
    std::optional<std::uint64_t> interval_ms, app_interval_ms, retention_ms, rpo_alarm_ms;
    friend bool operator==(const PolicyEntry&, const PolicyEntry&) = default;
};

struct Settings {
#define CW_INTEGER(section, key, fallback, min, max, life, help) std::int64_t section##_##key;
#define CW_BYTES(section, key, fallback, min, max, life, help) std::uint64_t section##_##key;
#define CW_DURATION(section, key, fallback, min, max, life, help) \
    std::uint64_t section##_##key##_ms;
#define CW_RATE(section, key, fallback, life, help) std::uint64_t section##_##key;
#define CW_BOOLEAN(section, key, fallback, life, help) bool section##_##key;
#define CW_TEXT(section, key, fallback, life, help) std::string section##_##key;
#define CW_CHOICE(section, key, fallback, choices, life, help) std::string section##_##key;
#include "config/settings_rows.h"
    std::vector<BandwidthWindow> egress_schedule;
    std::vector<TargetEntry> targets;
    std::vector<PolicyEntry> policies;  // At most one per machine. Live.
};

// In force for a machine: its own policy's, or the one for every machine.
std::uint64_t points_interval_ms_of(const Settings& settings, const MachineId& machine);
std::uint64_t app_interval_ms_of(const Settings& settings, const MachineId& machine);
std::uint64_t retention_ms_of(const Settings& settings, const MachineId& machine);
std::uint64_t rpo_alarm_ms_of(const Settings& settings, const MachineId& machine);

Settings default_settings();
// Errors: config_invalid, naming line, column and key. Unknown keys are errors with a suggestion.
Result<Settings> parse_settings(std::string_view toml, std::string_view file_name);
// Errors: those, and not_found, io_error.
Result<Settings> load_settings(Disk& disk, const std::string& path);
// Keys that differ and cannot change while running.
std::vector<std::string> fixed_differences(const Settings& running, const Settings& wanted);
// Whether a running daemon may take `wanted`. Errors: needs_restart, naming every such key.
Result<void> check_reload(const Settings& running, const Settings& wanted);
// Every key with its value in force, "section.key = value", secrets being only file names anyway.
std::string explain_settings(const Settings& settings);
// docs/settings.md
std::string settings_manual();

// Text forms, shared with command lines. Errors: config_invalid.
Result<std::uint64_t> parse_bytes(std::string_view text);        // 64MiB, 2GiB, 4096
Result<std::uint64_t> parse_duration_ms(std::string_view text);  // 250ms, 5s, 10min, 4h, 15d
Result<std::uint64_t> parse_rate(std::string_view text);         // 512Kbps … → bytes per second
std::string format_bytes(std::uint64_t bytes);                   // 1.5 GiB

}  // namespace cw::config
