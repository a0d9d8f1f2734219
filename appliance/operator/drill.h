// Drill: does a machine come back from a recovery point? The disks are restored into a scratch
// directory (every byte is authenticated on the way), their file systems are checked as a booting
// system would, and on request they are booted. What was seen is written down in a receipt.
//
// Blocking; for operators' programs. Nothing of the machine or the vault is changed.
#pragma once

#include "appliance/operator/signed_record.h"
#include "appliance/read_access.h"
#include "recovery/image_writer.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

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
    std::string result;   // "ext4: clean", "no file system known here"
};

struct DrillReport {
    vault::PointEntry point;
    WallMicros began{}, ended{};
    std::uint64_t bytes = 0;  // Restored and authenticated.
    std::vector<DrillFinding> findings;
    bool checked = false;  // A file system was checked, or a boot seen: more than bytes is proven.
};

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
