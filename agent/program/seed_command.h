// causeway-agent seed export | check | import: a disk's first copy by medium instead of by wire.
#pragma once

#include "agent/seed/seed_export.h"
#include "agent/seed/seed_import.h"

#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace cw::agent {

struct SeedCommand {
    enum class Verb : std::uint8_t { export_, check, import };
    Verb verb = Verb::check;
    bool json = false;
    std::string log_level = "warning";
    TlsFiles files;  // Who this machine is; empty: as it enrolled.
    std::string state_directory, machine_name, disk_name, image, manifest, format;
    SeedExport export_;
    SeedImportOptions import;
    bool point = false;
    std::string fingerprint;  // Of the manifest, as the export told it; empty: not compared.
};

// Adds `seed` with its verbs. `finish`, after parsing, makes a command of what was said.
class SeedCommandLine {
public:
    explicit SeedCommandLine(CLI::App& app);
    [[nodiscard]] bool parsed() const;
    // Throws CLI::ParseError.
    SeedCommand finish();

private:
    void add_export();
    void add_import();
    void finish_identity();

    CLI::App *seed_, *export_, *check_, *import_;
    SeedCommand command_;
    std::vector<std::string> servers_;
    std::string pre_, post_, hook_timeout_ = "60s";
};

// The exit code.
int run_seed(SeedCommand command);
// From a signal handler.
void stop_seed() noexcept;

}  // namespace cw::agent
