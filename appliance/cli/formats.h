// Where a disk of a point can go: files and devices by our own writers, other image formats through
// qemu-img, a page blob in the vault's account, a managed disk that waits for its upload.
#pragma once

#include "appliance/cli/cli.h"
#include "recovery/restore.h"

namespace cw::appliance {

// `format`: raw, vhd, qcow2, vhdx, vmdk, page-blob or managed-disk; request.write.path is where to
// (of a managed disk: the file with its write SAS). Nothing appears there unless it is whole (a
// device and a page blob's VHD footer excepted: written last).
// Errors: those of restore_disk; usage (a program is missing), io_error (it failed).
Result<recovery::RestoreReport> write_disk(Cli& cli, const OpenedCatalog& opened,
                                           const recovery::RestoreRequest& request,
                                           const std::string& format,
                                           const recovery::Progress& progress);

// Whether what is written is in the cloud, where nobody but the service knows what is there.
bool is_in_azure(const std::string& format);

// What a file of this format is called in a directory of several.
std::string extension_of(const std::string& format);

}  // namespace cw::appliance
