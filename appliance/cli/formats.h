// Where a disk of a point can go: files and devices by our own writers, other image formats through
// qemu-img, and a page blob in the vault's account.
#pragma once

#include "appliance/cli/cli.h"
#include "recovery/restore.h"

namespace cw::appliance {

// `format`: raw, vhd, qcow2, vhdx, vmdk or page-blob; request.write.path is where to. Nothing
// appears there unless it is whole (a device and a page blob's VHD footer excepted: written last).
// Errors: those of restore_disk; usage (a program is missing), io_error (it failed).
Result<recovery::RestoreReport> write_disk(Cli& cli, const OpenedCatalog& opened,
                                           const recovery::RestoreRequest& request,
                                           const std::string& format,
                                           const recovery::Progress& progress);

}  // namespace cw::appliance
