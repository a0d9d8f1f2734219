// causeway enrol-token: lets machines fetch their certificates from the running server.
#include "appliance/cli/cli.h"
#include "appliance/control_client.h"
#include "base/log.h"

#include <cstdio>
#include <ctime>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

struct TokenOptions {
    std::string ttl = "24h", machine, out, revoke;
    std::uint32_t uses = 1;
    bool list = false;
};

std::string utc(std::int64_t wall_s) {
    const time_t time = wall_s;
    tm parts{};
    char text[32] = {};
    gmtime_r(&time, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

Result<json> parse_answer(const std::string& text) {
    json answer = json::parse(text, nullptr, false);
    if (answer.is_discarded()) {
        return fail(Errc::internal, "the daemon's answer is not JSON");
    }
    return answer;
}

Result<void> list_tokens(const Cli& cli, const ControlClient& daemon) {
    CW_TRY_ASSIGN(const std::string text, daemon.get("enrol-tokens"));
    CW_TRY_ASSIGN(const json tokens, parse_answer(text));
    if (cli.json) {
        print_json(tokens);
        return {};
    }
    for (const json& token : tokens) {
        const std::string machine = token.value("machine", "");
        std::printf("%s  %u of %u uses, until %s%s%s\n", token.value("id", "").c_str(),
                    token.value("used", 0U), token.value("uses", 0U),
                    utc(token.value("expires_s", std::int64_t{0})).c_str(),
                    machine.empty() ? "" : ", for machine ", machine.c_str());
    }
    return {};
}

Result<void> issue_token(Cli& cli, const ControlClient& daemon, const TokenOptions& options) {
    CW_TRY_ASSIGN(const std::uint64_t ttl_ms, config::parse_duration_ms(options.ttl));
    json request{{"ttl_s", ttl_ms / 1000}, {"uses", options.uses}};
    if (!options.machine.empty()) {
        request["machine"] = options.machine;
    }
    CW_TRY_ASSIGN(
        const std::string text,
        daemon.post("enrol-token", request.dump(-1, ' ', false, json::error_handler_t::replace)));
    CW_TRY_ASSIGN(json answer, parse_answer(text));
    const std::string until = utc(answer.value("expires_s", std::int64_t{0}));
    if (!options.out.empty()) {
        const std::string token = answer.value("token", "") + '\n';
        CW_TRY(write_file_atomically(*cli.seams.disk, options.out, as_bytes(token)));
        answer.erase("token");
    }
    if (cli.json) {
        print_json(answer);
        return {};
    }
    // On stdout the token alone, so that it can be piped to where it is needed.
    if (options.out.empty()) {
        std::printf("%s\n", answer.value("token", "").c_str());
    }
    std::fprintf(stderr,
                 "token %s: %u uses, until %s; at the machine: causeway-agent enrol --server "
                 "HOST:PORT --token-file FILE --state DIR\n",
                 answer.value("id", "").c_str(), answer.value("uses", 0U), until.c_str());
    return {};
}

Result<void> enrol_token(Cli& cli, const TokenOptions& options) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    const ControlClient daemon{socket};
    if (options.list) {
        return list_tokens(cli, daemon);
    }
    if (!options.revoke.empty()) {
        CW_TRY(daemon.post(
            "enrol-token-revoke",
            json{{"id", options.revoke}}.dump(-1, ' ', false, json::error_handler_t::replace)));
        std::fprintf(stderr, "token %s is worth nothing from now on\n",
                     escape_for_display(options.revoke).c_str());
        return {};
    }
    return issue_token(cli, daemon, options);
}

}  // namespace

void add_enrol_command(CLI::App& app, Cli& cli) {
    CLI::App* command =
        app.add_subcommand("enrol-token", "A token with which machines fetch their certificates");
    auto options = std::make_shared<TokenOptions>();
    command->add_option("--ttl", options->ttl, "How long it is good, at most 5d")
        ->capture_default_str();
    command->add_option("--uses", options->uses, "How many machines may use it")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    command->add_option("--machine", options->machine,
                        "For this machine alone, whose certificate has expired or was lost");
    command->add_option("--out", options->out, "Writes it to this file, mode 0600");
    CLI::Option* list = command->add_flag("--list", options->list, "Tokens that are good");
    command->add_option("--revoke", options->revoke, "Ends the token with this id")->excludes(list);
    command->callback([&cli, options] { cli.run([&] { return enrol_token(cli, *options); }); });
}

}  // namespace cw::appliance
