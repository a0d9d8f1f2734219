// causeway status | events: what the running daemon says.
#include "appliance/cli/cli.h"
#include "appliance/control_client.h"
#include "appliance/status_json.h"
#include "config/settings.h"
#include "recovery/catalog.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>

namespace cw::appliance {
namespace {

// What to ask for: "2h" before now, or "2026-11-20T18:00Z". Errors: usage.
Result<std::string> events_since(const std::string& text) {
    if (text.empty()) {
        return std::string("events");
    }
    WallMicros from{};
    if (const auto ago_ms = config::parse_duration_ms(text)) {
        constexpr std::uint64_t most_ms = 100ULL * 366 * 24 * 3600 * 1000;
        from = WallMicros{raw(make_system_clock()->wall()) -
                          static_cast<std::int64_t>(std::min(*ago_ms, most_ms)) * 1000};
    } else {
        CW_TRY_ASSIGN(from, recovery::parse_time(text));
    }
    return "events?since=" + std::to_string(raw(from));
}

}  // namespace

void add_status_commands(CLI::App& app, Cli& cli) {
    CLI::App* status =
        app.add_subcommand("status", "Health, machines, RPO and where its time goes");
    auto line = std::make_shared<bool>(false);
    status->add_flag("--line", *line, "One line");
    status->callback([&cli, line] {
        cli.run([&]() -> Result<void> {
            CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
            CW_TRY_ASSIGN(const std::string json, ControlClient{socket}.get("status"));
            std::fputs(cli.json ? (json + "\n").c_str() : status_text(json, *line).c_str(), stdout);
            return {};
        });
    });

    CLI::App* events = app.add_subcommand(
        "events", "Conditions raised and cleared in the last 72 hours, oldest first");
    auto since = std::make_shared<std::string>();
    events->add_option("--since", *since,
                       "All since then: \"2h\" ago, or a time as it is shown; else the newest 500");
    events->callback([&cli, since] {
        cli.run([&]() -> Result<void> {
            CW_TRY_ASSIGN(const std::string wanted, events_since(*since));
            CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
            CW_TRY_ASSIGN(const std::string json, ControlClient{socket}.get(wanted));
            std::fputs(cli.json ? (json + "\n").c_str() : events_text(json).c_str(), stdout);
            return {};
        });
    });
}

}  // namespace cw::appliance
