#include "agent/program/ask_command.h"

#include "agent/program/option_text.h"
#include "base/clock.h"
#include "base/log.h"

#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr std::string_view socket_name = "/agent.sock";

// What people chose or a server said, as a terminal may see it.
std::string shown(const json& of, const char* key) {
    constexpr std::size_t shown_max = 4096;
    return escape_for_display(of.value(key, ""), shown_max);
}

void print_status(const json& status) {
    std::printf("machine   %s (%s)\nlink      %s %s\n", shown(status, "machine_name").c_str(),
                status.value("machine", "").c_str(), status.value("link", "").c_str(),
                shown(status, "server").c_str());
    const std::int64_t rpo = status.value("rpo_ms", std::int64_t{-1});
    if (rpo < 0) {
        std::printf("RPO       no committed point yet\n");
    } else {
        std::printf("RPO       %.1f s\n", static_cast<double>(rpo) / 1000);
    }
    const std::string mode = status.value("mode", "data");
    if (mode != "data") {
        std::printf("mode      %s, %llu bytes to be sent: %s\n", mode.c_str(),
                    status.value("backlog_bytes", 0ULL), shown(status, "mode_reason").c_str());
    }
    if (const json spool = status.value("spool", json::object()); !spool.empty()) {
        std::printf("spool     %llu MiB used, room for %llu MiB",
                    spool.value("used_bytes", 0ULL) / mib, spool.value("room_bytes", 0ULL) / mib);
        if (const auto rate = spool.value("bytes_per_s", 0ULL); rate > 0) {
            std::printf("; its disk took %.1f MiB/s when it was last written",
                        static_cast<double>(rate) / static_cast<double>(mib));
        }
        std::printf("\n");
    }
    if (const json pauses = status.value("pauses", json::object());
        pauses.value("points", 0ULL) + pauses.value("given_up", 0ULL) > 0) {
        std::printf("pauses    last %.1f ms, longest %.1f ms of %llu points; %llu over the limit\n",
                    static_cast<double>(pauses.value("last_us", 0LL)) / 1000,
                    static_cast<double>(pauses.value("longest_us", 0LL)) / 1000,
                    pauses.value("points", 0ULL), pauses.value("over_limit", 0ULL));
        if (pauses.contains("waited_for")) {
            std::printf("          %llu given up: disk '%s' kept the others for %llu ms\n",
                        pauses.value("given_up", 0ULL), shown(pauses, "waited_for").c_str(),
                        pauses.value("waited_ms", 0ULL));
        }
    }
    for (const char* key : {"last_error", "scan_error", "freeze_error"}) {
        if (status.contains(key)) {
            std::printf("error     %s\n", shown(status, key).c_str());
        }
    }
    const json hooks = status.value("hooks", json::object());
    if (const json earlier = hooks.value("earlier", json::object()); !earlier.empty()) {
        std::printf(
            "hooks     the %s of an earlier agent runs still (process %d, for %.0f s): no "
            "hook begins before it has ended\n",
            earlier.value("hook", "").c_str(), earlier.value("pid", 0),
            static_cast<double>(earlier.value("runs_ms", 0LL)) / 1000);
    }
    if (const std::string failed = hooks.value("post_hook_error", ""); !failed.empty()) {
        std::printf("hooks     the last post-hook: %s\n", escape_for_display(failed, 4096).c_str());
    } else if (hooks.value("post_hook_runs", false)) {
        std::printf("hooks     the post-hook runs\n");
    }
    for (const json& hint : status.value("hints", json::array())) {
        const bool on = hint.value("on", false);
        std::printf("hints     %s: %s %s\n", shown(hint, "disk").c_str(),
                    on ? "on" : "off:", shown(hint, "reason").c_str());
    }
    for (const json& disk : status.at("disks")) {
        std::printf("disk      %s: %s, generation %llu, sequence %llu, committed %llu %s\n",
                    shown(disk, "name").c_str(), disk.value("phase", "").c_str(),
                    disk.value("generation", 0ULL), disk.value("next_sequence", 1ULL) - 1,
                    disk.value("committed", 0ULL), shown(disk, "reason").c_str());
    }
}

}  // namespace

struct AskCommandLine::Text {
    std::string state, tag, wait = "sent", timeout = "60s", disk, size = "0";
    bool final = false, frozen = false, group = false, shrink = false;
};

AskCommandLine::AskCommandLine(CLI::App& app) : app_(app), text_(std::make_unique<Text>()) {
    AskCommand& out = command_;
    Text& text = *text_;
    CLI::App* const status = app.add_subcommand(
        "status", "how protection goes; exit code 3: not at all until somebody does something");
    CLI::App* const point = app.add_subcommand("point", "make a recovery point now");
    CLI::App* const stop = app.add_subcommand("stop", "stop the running agent");
    CLI::App* const resize =
        app.add_subcommand("resize", "give a disk of a virtual machine another size");
    for (CLI::App* const each : {status, point, stop, resize}) {
        each->add_option("--state", text.state, "state directory of the agent")->required();
    }
    for (CLI::App* const each : {point, stop, resize}) {
        each->add_option("--timeout", text.timeout)->capture_default_str();
    }
    status->add_flag("--json", out.json);
    point->add_flag("--json", out.json);
    point->add_option("--tag", text.tag, "a word of yours, at most 256 bytes");
    point->add_flag("--frozen", text.frozen,
                    "freeze the source for it; the agent needs --qga, --pre-hook or --mount");
    point->add_flag("--group", text.group, "of all machines of the group that it coordinates");
    point->add_option("--wait", text.wait)->check(CLI::IsMember({"sent", "durable", "committed"}));
    stop->add_flag("--final", text.final, "a last point first, then a planned GOODBYE");
    resize->add_option("--disk", text.disk, "its name, as status tells it")->required();
    resize->add_option("--size", text.size, "for example 20GiB")->required();
    resize->add_flag("--shrink", text.shrink, "what lies beyond a nearer end may be lost");
}

AskCommandLine::~AskCommandLine() = default;

AskCommand AskCommandLine::finish() {
    AskCommand& out = command_;
    const Text& text = *text_;
    out.name = app_.get_subcommands().front()->get_name();
    const std::int64_t timeout_ms = duration_ns("--timeout", text.timeout) / ns_per_ms;
    out.socket = text.state + std::string(socket_name);
    out.timeout_ms = static_cast<int>(timeout_ms) + 5000;
    out.request = json{
        {"command", out.name},
        {"tag", text.tag},
        {"wait", text.wait},
        {"final", text.final ? "yes" : "no"},
        {"frozen", text.frozen ? "yes" : "no"},
        {"group", text.group ? "yes" : "no"},
        {"disk", text.disk},
        {"size_bytes", size_bytes("--size", text.size)},
        {"shrink", text.shrink ? "yes" : "no"},
        {"timeout_ms",
         timeout_ms}}.dump(-1, ' ', false, json::error_handler_t::replace);
    return std::move(out);
}

int print_answer(const AskCommand& command, const std::string& answer) {
    const json out = json::parse(answer, nullptr, false);
    if (!out.is_object()) {
        std::fprintf(stderr, "causeway-agent: the agent's answer is not JSON\n");
        return 1;
    }
    if (command.json) {
        std::printf("%s\n", answer.c_str());
    }
    if (!out.value("ok", false)) {
        if (!command.json) {
            std::fprintf(
                stderr, "causeway-agent: %s\n",
                escape_for_display(out.value("text", out.value("error", "failed")), 8192).c_str());
        }
        return out.value("exit", 1);
    }
    // For whoever watches: what passes by itself is none of his business.
    const bool needs_people = command.name == "status" && out.value("link", "") == "critical";
    if (!command.json && command.name == "status") {
        print_status(out);
    } else if (!command.json && command.name == "point") {
        std::printf("%s %s\n", out.value("id", "").c_str(), out.value("state", "").c_str());
    }
    return needs_people ? 3 : 0;
}

}  // namespace cw::agent
