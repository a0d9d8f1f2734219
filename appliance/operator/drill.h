// Drill: does a machine come back from a recovery point? The disks are restored into a scratch
// directory (every byte is authenticated on the way), their file systems are checked as a booting
// system would, and on request they are booted. What was seen is written down in a receipt.
//
// Blocking; for operators' programs. Nothing of the machine or the vault is changed.
#pragma once

#include "appliance/operator/file_system_check.h"
#include "appliance/operator/signed_record.h"
#include "appliance/read_access.h"
#include "recovery/image_writer.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace cw::appliance {

struct DrillOptions {
    std::string scratch;  // An existing directory with room for the disks' data.
    bool boot = false;
    std::string expect;  // boot: what the serial console must say.
    std::int64_t boot_timeout_ns = 120 * ns_per_s;
    std::uint64_t boot_memory_mib = 512;
    std::string boot_accelerator = "tcg";  // As QEMU names it.
    std::string boot_firmware;             // A file; empty: QEMU's own BIOS.
    std::function<bool()> cancelled = {};  // Asked often.
};

// One thing that was looked at, and what it was.
struct DrillFinding {
    std::string subject;  // "disk 6ba7…", "disk 6ba7… partition 2", "boot"
    std::string result;   // "ext4: clean", "not checked: no file system known here"
    // Of a partition, or a disk without any.
    std::optional<FileSystemFinding> file_system = {};
};

struct DrillReport {
    vault::PointEntry point;
    WallMicros began{}, ended{};
    std::uint64_t bytes = 0;  // Restored and authenticated.
    std::vector<DrillFinding> findings;
    // A boot was seen, or file systems were checked and nothing was left that could not be: more
    // than bytes is proven.
    bool checked = false;
};
// Whether these prove it: a file system that was not checked may be the one that the machine needs.
bool file_systems_prove(const std::vector<DrillFinding>& findings);
// One finding as a line for people; and as in a receipt.
std::string text_of(const DrillFinding& finding);
nlohmann::json json_of(const DrillFinding& finding);

using DrillProgress =
    std::function<void(const std::string& step, std::uint64_t done, std::uint64_t total)>;

// Errors: drill_failed naming the step; what only hinders (a vault that cannot be reached, no room,
// cancelled) as itself, because it says nothing of the point.
Result<DrillReport> drill_point(const OpenedCatalog& opened, SystemSeams& seams,
                                const vault::PointEntry& point, const DrillOptions& options,
                                const DrillProgress& progress);

// The receipt: a JSON text for people, and the same text as a signed record.
std::string make_receipt(const DrillReport& report, const vault::VaultIdentity& vault,
                         const recovery::Catalog& catalog, const vault::ServerSigner& signer);
struct CheckedReceipt {
    std::string text;  // What was signed: JSON.
    ServerId signer;
};
// Errors: object_corrupt (not what this vault's server signed), usage (no receipt at all).
Result<CheckedReceipt> check_receipt(const std::string& file, const vault::VaultIdentity& vault);

}  // namespace cw::appliance
