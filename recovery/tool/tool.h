// What the commands of causeway-restore share: how to reach the vault, exit codes, progress and
// output. The program needs nothing but the vault and its key; no configuration, no server.
#pragma once

#include "base/clock.h"
#include "base/disk.h"
#include "base/exit_code.h"
#include "base/metrics.h"
#include "base/random.h"
#include "recovery/restore.h"
#include "recovery/verify.h"

#include <memory>
#include <string>

namespace cw::recovery::tool {

// The seams of a real process.
struct Seams {
    std::unique_ptr<Clock> clock = make_system_clock();
    std::unique_ptr<Random> random = make_system_random();
    std::unique_ptr<Disk> disk = make_posix_disk();
    std::unique_ptr<MetricRegistry> metrics = make_metric_registry();
};

// Secrets come from files, never from the command line.
struct VaultOptions {
    std::string vault;  // https://…, dir:///path or a directory
    std::string kek_file;
    std::string auth;  // As parse_azure_auth(); empty: by which file is given.
    std::string sas_file, key_file, client_secret_file, token_file;
    std::string tenant, client_id, ca_file, proxy;
    std::string witness;  // "number:hash", from an agent or a status page; may be empty.
    bool accept_stale = false;
    bool no_crc64 = false;  // Of an emulator that refuses x-ms-range-get-content-crc64.
    std::size_t threads = 8;
};

struct OpenVault {
    std::unique_ptr<blob::StoreFactory> factory;
    std::unique_ptr<blob::BlobStore> store;
    std::unique_ptr<vault::KeyService> kek;
};
// Errors: config_invalid, usage, vault_missing, key_unavailable.
Result<OpenVault> open_vault(const VaultOptions& options, Seams& seams);
// Errors: usage (a witness that is not number:hash).
Result<CatalogOptions> catalog_options(const VaultOptions& options);

using cw::exit_code_of;
int exit_code_of(Verdict verdict) noexcept;

// On stderr, once it has taken longer than 2 s.
class ProgressText {
public:
    ProgressText(Clock& clock, std::string what, bool bytes);
    ~ProgressText();
    ProgressText(const ProgressText&) = delete;
    ProgressText& operator=(const ProgressText&) = delete;
    void update(std::uint64_t done, std::uint64_t total);

private:
    Clock& clock_;
    std::string what_;
    bool bytes_;
    bool terminal_;
    bool shown_ = false;
    Nanos started_;
    Nanos last_;
};

std::string size_text(std::uint64_t bytes);  // "1.5 GiB"

// Results, as text or JSON on stdout.
struct MachineSummary {
    MachineId machine;
    std::string name;
    std::size_t points = 0;
    std::string newest;  // Time of the newest point; empty: none.
    std::string error;   // Instead of the above, if it cannot be opened.
};
void print_machines(const std::vector<MachineSummary>& machines, bool json);
void print_catalog(const Catalog& catalog, bool json);
void print_verify(const std::vector<std::pair<MachineId, VerifyReport>>& reports, bool json);
void print_restore(const RestoreReport& report, const std::string& path, bool json);

}  // namespace cw::recovery::tool
