// The words of `causeway-agent seed`.
#include "agent/child_process.h"
#include "agent/program/enrolment.h"
#include "agent/program/option_text.h"
#include "agent/program/seed_command.h"

#include <array>
#include <filesystem>
#include <map>

#include <CLI/CLI.hpp>
#include <unistd.h>

namespace cw::agent {
namespace {

void add_identity(CLI::App& app, SeedCommand& out) {
    CLI::Option* const ca = app.add_option("--ca", out.files.ca_file,
                                           "the site's CA certificates; default: as enrolled");
    CLI::Option* const cert =
        app.add_option("--cert", out.files.cert_file, "the machine's certificate");
    CLI::Option* const key = app.add_option("--key", out.files.key_file, "its private key");
    ca->needs(cert)->needs(key);
    cert->needs(ca)->needs(key);
    key->needs(ca)->needs(cert);
    app.add_option("--state", out.state_directory,
                   "directory for state; an enrolled machine's has its certificate")
        ->required();
}

}  // namespace

SeedCommandLine::SeedCommandLine(CLI::App& app)
    : seed_(app.add_subcommand("seed", "a disk's first copy by medium instead of by wire")),
      export_(seed_->add_subcommand("export", "at the machine: onto a medium")),
      check_(seed_->add_subcommand("check", "whether a medium is what was exported")),
      import_(seed_->add_subcommand("import", "near the server: from a medium")) {
    seed_->require_subcommand(1);
    for (CLI::App* const each : {export_, check_, import_}) {
        each->add_flag("--json", command_.json, "progress and result as JSON");
    }
    for (CLI::App* const each : {check_, import_}) {
        each->add_option("--image", command_.image, "the image")->required();
        each->add_option("--manifest", command_.manifest, "default: the image's name and .seed");
        each->add_option("--fingerprint", command_.fingerprint,
                         "of the manifest, as the export told it: another one is refused");
    }
    add_export();
    add_import();
}

void SeedCommandLine::add_export() {
    SeedExport& out = command_.export_;
    add_identity(*export_, command_);
    export_->add_option("--machine-name", command_.machine_name, "default: the host name");
    CLI::Option* const image = export_->add_option("--image", out.source, "the disk's image");
    export_->add_option("--disk", out.source, "the block device")->excludes(image);
    export_->add_option("--disk-name", command_.disk_name,
                        "as `protect` names it; default: the file name");
    export_->add_option("--output", out.output.path, "the image to make")->required();
    export_->add_option("--format", command_.format, "raw, qcow2, vhd or vhdx; default: raw");
    export_->add_flag("--still", out.still, "nobody writes to the source: it is a snapshot");
    export_->add_flag("--force", out.replace, "replace what is there");
    export_->add_option("--pre-hook", pre_, "command that quiets the source");
    export_->add_option("--post-hook", post_, "command that lets it go on; always run");
    export_->add_option("--hook-timeout", hook_timeout_, "how long it may be kept still")
        ->capture_default_str();
    export_->add_option("--mount", out.freeze.mount, "freeze the file system mounted here");
}

void SeedCommandLine::add_import() {
    SeedImportOptions& out = command_.import;
    add_identity(*import_, command_);
    import_->add_option("--server", servers_, "process server, HOST:PORT; default: as enrolled");
    import_->add_option("--format", command_.format,
                        "of an image without a manifest: raw, qcow2, vhd or vhdx");
    import_->add_option("--disk-name", command_.disk_name,
                        "of an image without a manifest: as `protect` will name the disk");
    import_->add_flag("--point", command_.point,
                      "a recovery point of the export's moment, if the disk was still then");
    import_->add_flag("--over", out.over, "although the disk is protected at the server");
    import_->add_option("--log-level", command_.log_level, "trace, debug, info, warning or error")
        ->capture_default_str();
}

bool SeedCommandLine::parsed() const {
    return seed_->parsed();
}

void SeedCommandLine::finish_identity() {
    SeedCommand& out = command_;
    if (out.files.cert_file.empty()) {
        const auto found = read_enrolment(*make_posix_disk(), out.state_directory);
        if (!found) {
            throw CLI::RequiredError("--ca, --cert and --key, or causeway-agent enrol (" +
                                     to_string(found.error()) + ")");
        }
        out.files = found->files;
        if (servers_.empty()) {
            out.import.target.servers.push_back(found->replication);
        }
    }
    for (const std::string& server : servers_) {
        out.import.target.servers.push_back(unwrap("--server", parse_host_port(server)));
    }
    out.import.target.files = out.files;
}

SeedCommand SeedCommandLine::finish() {
    SeedCommand& out = command_;
    if (check_->parsed()) {
        out.verb = SeedCommand::Verb::check;
        return out;
    }
    finish_identity();
    if (import_->parsed()) {
        out.verb = SeedCommand::Verb::import;
        if (out.import.target.servers.empty()) {
            throw CLI::RequiredError("--server");
        }
        out.import.directory = out.state_directory + "/seed";
        return out;
    }
    out.verb = SeedCommand::Verb::export_;
    if (out.export_.source.empty()) {
        throw CLI::RequiredError("--image or --disk");
    }
    if (out.disk_name.empty()) {
        out.disk_name = std::filesystem::path(out.export_.source).filename().string();
    }
    if (out.machine_name.empty()) {
        std::array<char, 256> host{};
        ::gethostname(host.data(), host.size() - 1);
        out.machine_name = host.data();
    }
    out.export_.machine_name = out.machine_name;
    out.export_.disk_name = out.disk_name;
    out.export_.output.format =
        out.format.empty() ? SeedFormat::raw : unwrap("--format", parse_seed_format(out.format));
    out.export_.freeze.limit_ns = duration_ns("--hook-timeout", hook_timeout_, hook_limits);
    if (!pre_.empty()) {
        out.export_.freeze.pre = unwrap("--pre-hook", split_command(pre_));
    }
    if (!post_.empty()) {
        out.export_.freeze.post = unwrap("--post-hook", split_command(post_));
    }
    out.export_.freeze.marker_path = out.state_directory + "/seed/frozen";
    return out;
}

}  // namespace cw::agent
