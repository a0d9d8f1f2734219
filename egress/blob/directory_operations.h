// The directory store's operations, blocking: each returns with its effect on stable storage.
//
// Thread-safety: one object per thread; any number of objects and processes share a vault through
// its lock files.
#pragma once

#include "base/random.h"
#include "egress/blob/directory_sidecar.h"
#include "egress/blob/directory_tree.h"

namespace cw::blob {

// What the stores of one factory share.
struct DirectoryVault {
    DirectoryTree tree;
    Clock& clock;
    Random& random;
    std::size_t page_entries;
};

class DirectoryOperations {
public:
    explicit DirectoryOperations(DirectoryVault& vault) : tree_(vault.tree), vault_(vault) {}

    PutResult put(const PutRequest& request);
    Result<GetResult> get(const GetRequest& request);
    Result<BlobProperties> head(const BlobName& name);
    Result<ListPage> list(Container container, const std::string& prefix,
                          const std::string& marker);
    Result<void> remove(const BlobName& name);
    Result<void> create_containers();

private:
    struct Found {
        Fd fd;
        struct stat status;
        BlobProperties properties;
    };

    Result<void> require_container(Container container) const;
    [[nodiscard]] Result<Found> find(const BlobName& name) const;
    [[nodiscard]] Result<std::vector<MetadataVersion>> read_metadata(const BlobName& name) const;
    Result<void> write_metadata(const BlobName& name, const std::vector<MetadataVersion>& versions);
    Result<void> write_sidecar(const std::string& path, const std::string& text);
    PutResult publish(const PutRequest& request, const std::string& temporary,
                      std::int64_t mtime_ns);
    Result<bool> admit(const PutRequest& request, const Result<Found>& found) const;
    // Appends the sorted names below `directory` that follow `marker`; false when the page is full.
    Result<bool> walk(const std::string& directory, const std::string& prefix,
                      const std::string& marker, ListPage& page) const;
    std::string unique_name();
    std::int64_t fresh_mtime_ns();

    DirectoryTree& tree_;
    DirectoryVault& vault_;
};

}  // namespace cw::blob
