// The table as rows, and docs/settings.md made from it.
#include "config/settings.h"

namespace cw::config {
namespace {

constexpr std::string_view unquote(std::string_view text) {
    return text.size() >= 2 && text.front() == '"' ? text.substr(1, text.size() - 2) : text;
}

std::string_view kind_name(SettingKind kind) {
    switch (kind) {
        case SettingKind::integer:
            return "whole number";
        case SettingKind::bytes:
            return "size";
        case SettingKind::duration:
            return "duration";
        case SettingKind::rate:
            return "rate";
        case SettingKind::boolean:
            return "true or false";
        case SettingKind::text:
            return "text";
        case SettingKind::choice:
            return "choice";
    }
    return "";
}

std::string range_of(const SettingRow& row) {
    if (!row.choices.empty()) {
        std::string out;
        for (const char c : row.choices) {
            out += c == '|' ? ", " : std::string(1, c);
        }
        return out;
    }
    return row.min.empty() ? "" : std::string(row.min) + " … " + std::string(row.max);
}

}  // namespace

const std::vector<SettingRow>& setting_rows() {
    static const std::vector<SettingRow> rows{
#define CW_INTEGER(section, key, fallback, min, max, life, help) \
    {#section, #key, SettingKind::integer, #fallback, #min, #max, {}, SettingLife::life, help},
#define CW_BYTES(section, key, fallback, min, max, life, help) \
    {#section, #key, SettingKind::bytes, #fallback, #min, #max, {}, SettingLife::life, help},
#define CW_DURATION(section, key, fallback, min, max, life, help) \
    {#section, #key, SettingKind::duration, #fallback, #min, #max, {}, SettingLife::life, help},
#define CW_RATE(section, key, fallback, life, help) \
    {#section, #key, SettingKind::rate, fallback, {}, {}, {}, SettingLife::life, help},
#define CW_BOOLEAN(section, key, fallback, life, help) \
    {#section, #key, SettingKind::boolean, #fallback, {}, {}, {}, SettingLife::life, help},
#define CW_TEXT(section, key, fallback, life, help) \
    {#section, #key, SettingKind::text, fallback, {}, {}, {}, SettingLife::life, help},
#define CW_CHOICE(section, key, fallback, choices, life, help) \
    {#section, #key, SettingKind::choice, fallback, {}, {}, choices, SettingLife::life, help},
#include "config/settings_rows.h"
    };
    return rows;
}

std::string settings_manual() {
    std::string out =
        "# Settings\n\nGenerated from config/settings.def by `causeway config manual`; the file "
        "is\n"
        "`/etc/causeway/causeway.toml`. *Live* settings take effect on SIGHUP and\n"
        "`causeway config reload`; a bad file changes nothing and names line and key.\n"
        "Bandwidth by hours: any number of `[[egress.schedule]]` windows with `days`\n"
        "(`[\"mon\", …]`, all if absent), `from`, `to` (`\"22:00\"`, wrapping past midnight) and\n"
        "`limit`; the first that covers the local time wins.\n"
        "What is different for one machine stands in a `[[policy]]` (live): `machine` (UUID), and\n"
        "each optional, `interval`, `app_interval`, `retention` and `rpo_alarm`, as in "
        "`[points]`.\n"
        "A master target writes one disk per `[[target]]` (restart to change): `machine` (UUID),\n"
        "`disk` (UUID, or its name at the agent), `path` (block device or image file, absolute),\n"
        "and, each optional, `size` (must be the disk's; a missing file is then created),\n"
        "`identity` (as `causeway target list` shows it: another device is refused) and `work`\n"
        "(directory of overlay and redo log, not on the target; up to twice the disk's size;\n"
        "default below `server.state_dir`).\n";
    std::string_view section;
    for (const SettingRow& row : setting_rows()) {
        if (row.section != section) {
            section = row.section;
            out += "\n## [" + std::string(section) +
                   "]\n\n| key | kind | default | range | live | meaning "
                   "|\n|---|---|---|---|---|---|\n";
        }
        const std::string_view fallback = unquote(row.fallback);
        out += "| `" + std::string(row.key) + "` | " + std::string(kind_name(row.kind)) + " | " +
               (fallback.empty() ? "empty" : "`" + std::string(fallback) + "`") + " | " +
               range_of(row) + " | " + (row.life == SettingLife::live ? "yes" : "restart") + " | " +
               std::string(row.help) + " |\n";
    }
    return out;
}

}  // namespace cw::config
