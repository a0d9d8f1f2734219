// A vault in a directory: for quickstart, seed media, small sites and restore from a copied vault.
//
// <path>/<container>/<name> is the object itself, byte for byte. <path>/.causeway/ holds sidecars
// (metadata), locks and temporaries. Creation is RENAME_NOREPLACE of a synced temporary, which
// holds between hosts wherever the file system's rename does; other conditions and overwrites are
// decided under flock, so several processes of one host may share a vault.
#pragma once

#include "base/random.h"
#include "egress/blob/store.h"

namespace cw::blob {

struct DirectoryOptions {
    std::string path;
    // Create the directory itself. A vault is only made on purpose: leave it false elsewhere.
    bool create = false;
    std::size_t page_entries = 1000;  // Of a list.
};

// `clock` and `random` must outlive the stores, and be thread-safe if stores are used on several
// threads. Errors: vault_missing (no such directory), blob_denied, io_error.
Result<std::unique_ptr<StoreFactory>> make_directory_factory(const DirectoryOptions& options,
                                                             Clock& clock, Random& random);

}  // namespace cw::blob
