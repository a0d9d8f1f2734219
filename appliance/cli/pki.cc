// causeway pki init | issue | revoke: a certificate authority on the local disk, for sites without
// their own, and the list of certificates that a server refuses.
#include "appliance/cli/cli.h"
#include "base/log.h"
#include "base/revocation.h"
#include "base/tls.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>

namespace cw::appliance {
namespace {

constexpr std::int64_t day_s = 86'400, ca_valid_s = 3650 * day_s;

struct IssueOptions {
    std::string directory, role = "machine", id, name, host, out;
    std::int64_t days = 30;
    bool force = false;
};

Result<Role> parse_role(const std::string& text) {
    if (text == "machine") {
        return Role::machine;
    }
    if (text == "process-server") {
        return Role::process_server;
    }
    if (text == "master-target") {
        return Role::master_target;
    }
    if (text == "operator") {
        return Role::operator_;
    }
    return fail(Errc::usage, "a role is machine, process-server, master-target or operator");
}

Result<void> issue(Cli& cli, const IssueOptions& options) {
    CertificateRequest request;
    CW_TRY_ASSIGN(request.identity.role, parse_role(options.role));
    if (options.id.empty()) {
        request.identity.id = make_uuid_bytes(*cli.seams.random);
    } else {
        CW_TRY_ASSIGN(request.identity.id, parse_uuid_bytes(options.id));
    }
    request.common_name = options.name.empty() ? uuid_text(request.identity.id) : options.name;
    request.dns_or_ip = options.host;
    request.valid_seconds = options.days * day_s;
    for (const char* suffix : {".crt", ".key"}) {
        CW_TRY_ASSIGN(const bool exists, cli.seams.disk->exists(options.out + suffix));
        if (exists && !options.force) {
            return fail(Errc::file_exists, options.out + suffix);
        }
    }
    CW_TRY(issue_certificate(options.directory, request, options.out));
    const std::string uri = to_string(request.identity);
    if (cli.json) {
        std::printf("{\"identity\":\"%s\",\"id\":\"%s\"}\n", uri.c_str(),
                    uuid_text(request.identity.id).c_str());
    } else {
        std::printf("%s.crt and %s.key for %s, valid %lld days\n", options.out.c_str(),
                    options.out.c_str(), uri.c_str(), static_cast<long long>(options.days));
    }
    return {};
}

// Appends to the list; a running server takes it with `causeway config reload`.
Result<void> revoke(Cli& cli, const std::string& certificate, std::string list) {
    constexpr std::size_t list_bytes_max = 1024 * 1024;
    Disk& disk = *cli.seams.disk;
    CW_TRY_ASSIGN(const std::string serial, serial_of_file(disk, certificate));
    if (list.empty()) {
        CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
        list = settings.security_revoked_file;
    }
    if (list.empty()) {
        return fail(Errc::usage, "security.revoked_file is not set; name the file with --list");
    }
    std::string text;
    CW_TRY_ASSIGN(const bool exists, disk.exists(list));
    if (exists) {
        CW_TRY_ASSIGN(const ByteVector bytes, read_file(disk, list, list_bytes_max));
        text = as_text(bytes);
        if (!text.empty() && !text.ends_with('\n')) {
            text += '\n';
        }
    }
    text += serial + "  # " + escape_for_display(certificate) + '\n';
    RevocationList sound;  // A list that no server could read would be refused by its reload.
    CW_TRY(sound.parse(text, list));
    CW_TRY(write_file_atomically(disk, list, as_bytes(text), 0644));
    if (cli.json) {
        std::printf("{\"serial\":\"%s\"}\n", serial.c_str());
    } else {
        std::printf("%s is revoked in %s; now: causeway config reload\n", serial.c_str(),
                    escape_for_display(list).c_str());
    }
    return {};
}

}  // namespace

void add_pki_commands(CLI::App& app, Cli& cli) {
    CLI::App* pki = app.add_subcommand("pki", "Certificates for machines, servers and operators");
    pki->require_subcommand(1);

    CLI::App* init = pki->add_subcommand("init", "Make a certificate authority in a directory");
    auto directory = std::make_shared<std::string>();
    auto name = std::make_shared<std::string>("Causeway CA");
    init->add_option("DIRECTORY", *directory)->required();
    init->add_option("--name", *name, "Name in the certificate")->capture_default_str();
    init->callback([&cli, directory, name] {
        cli.run([&]() -> Result<void> {
            CW_TRY(cli.seams.disk->create_directories(*directory));
            CW_TRY(create_ca(*directory, *name, ca_valid_s));
            std::printf("%s/ca.crt and ca.key; keep ca.key off the servers\n", directory->c_str());
            return {};
        });
    });

    CLI::App* revoke_command =
        pki->add_subcommand("revoke", "Put a certificate on the list of those that are refused");
    auto certificate = std::make_shared<std::string>(), list = std::make_shared<std::string>();
    revoke_command->add_option("CERTIFICATE", *certificate, "Its PEM file")->required();
    revoke_command->add_option("--list", *list, "Default: security.revoked_file of --config");
    revoke_command->callback(
        [&cli, certificate, list] { cli.run([&] { return revoke(cli, *certificate, *list); }); });

    CLI::App* issue_command = pki->add_subcommand("issue", "Issue a certificate for an identity");
    auto options = std::make_shared<IssueOptions>();
    issue_command->add_option("DIRECTORY", options->directory, "Where ca.crt and ca.key are")
        ->required();
    issue_command
        ->add_option("--role", options->role, "machine, process-server, master-target or operator")
        ->capture_default_str();
    issue_command->add_option("--id", options->id, "UUID; a new one if absent");
    issue_command->add_option("--name", options->name, "Name for people");
    issue_command->add_option("--host", options->host, "Servers: DNS names and IPs, by comma");
    issue_command->add_option("--days", options->days, "Validity")
        ->check(CLI::Range(1, 1095))
        ->capture_default_str();
    issue_command->add_option("--out", options->out, "Writes OUT.crt and OUT.key")->required();
    issue_command->add_flag("--force", options->force, "Replace OUT.crt and OUT.key");
    issue_command->callback([&cli, options] { cli.run([&] { return issue(cli, *options); }); });
}

}  // namespace cw::appliance
