#include "egress/blob/directory_operations.h"

#include "egress/blob/common.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <unistd.h>

namespace cw::blob {
namespace {

std::string object_path(const BlobName& name) {
    return to_string(name);
}
std::string metadata_path(const BlobName& name) {
    return ".causeway/meta/" + to_string(name);
}

std::int64_t mtime_ns_of(const struct stat& status) {
    return status.st_mtim.tv_sec * ns_per_s + status.st_mtim.tv_nsec;
}

std::string to_hex_number(std::uint64_t value) {
    std::array<char, 16> digits{};
    std::size_t at = digits.size();
    do {
        digits[--at] = "0123456789abcdef"[value % 16];
        value /= 16;
    } while (value != 0);
    return {&digits[at], digits.size() - at};
}

// Timestamps never repeat for one name (see put()), so they name versions.
std::string etag_of(const struct stat& status) {
    return to_hex_number(static_cast<std::uint64_t>(mtime_ns_of(status))) + "-" +
           to_hex_number(static_cast<std::uint64_t>(status.st_size));
}

// Objects that are never written twice need no lock: giving a file its name is atomic, and a
// process that is stopped in the middle must not hold up the others. Nor does reading: a file that
// was opened stays what it was. Keys and control are overwritten, one writer at a time.
bool written_once(Container container) {
    return container == Container::data || container == Container::manifest;
}

PutResult from_error(const Error& error, bool published) {
    return {published ? PutOutcome::unknown : PutOutcome::refused, {}, error};
}

}  // namespace

PutResult DirectoryOperations::put(const PutRequest& request) {
    if (auto ok = check_put(request); !ok) {
        return from_error(ok.error(), false);
    }
    if (auto ok = require_container(request.name.container); !ok) {
        return from_error(ok.error(), false);
    }
    const std::int64_t mtime_ns = fresh_mtime_ns();
    const auto temporary = tree_.write_temporary(unique_name(), request.body, mtime_ns);
    if (!temporary) {
        return from_error(temporary.error(), false);
    }
    // After the bytes have been given away, so that nothing lies between them and the check.
    const auto unchanged = check_body(request);
    PutResult result =
        unchanged ? publish(request, *temporary, mtime_ns) : from_error(unchanged.error(), false);
    if (result.outcome != PutOutcome::stored) {
        (void)tree_.unlink(*temporary);  // The sweep takes it otherwise.
    }
    return result;
}

PutResult DirectoryOperations::publish(const PutRequest& request, const std::string& temporary,
                                       std::int64_t mtime_ns) {
    bool published = false;
    const auto run = [&]() -> Result<std::string> {
        const BlobName& name = request.name;
        std::optional<Fd> lock;
        if (!written_once(name.container) || request.condition != PutCondition::if_absent) {
            CW_TRY_ASSIGN(lock, tree_.lock(std::string(name_of(name.container)), true));
        }
        const Result<Found> found = find(name);
        CW_TRY_ASSIGN(const bool replace, admit(request, found));
        std::vector<MetadataVersion> versions;
        if (replace) {
            if (const std::int64_t old_ns = mtime_ns_of(found->status); mtime_ns <= old_ns) {
                CW_TRY(tree_.stamp(temporary, old_ns + 1));
            }
            versions.push_back({found->properties.etag, found->properties.metadata});
        }
        CW_TRY_ASSIGN(const struct stat status, tree_.status(temporary));
        std::string etag = etag_of(status);
        versions.insert(versions.begin(), MetadataVersion{etag, request.metadata});
        CW_TRY(write_metadata(name, versions));
        CW_TRY(tree_.make_parents(object_path(name)));
        Result<void> named = tree_.publish(temporary, object_path(name), replace, published);
        if (!named && !published && named.error().code == Errc::blob_not_found) {
            // Someone removed the last object beside it, and then the empty directory.
            CW_TRY(tree_.make_parents(object_path(name)));
            named = tree_.publish(temporary, object_path(name), replace, published);
        }
        CW_TRY(named);
        if (replace) {
            versions.pop_back();
            CW_TRY(write_metadata(name, versions));
        }
        return etag;
    };
    auto etag = run();
    return etag ? stored(std::move(*etag)) : from_error(etag.error(), published);
}

// Whether the put replaces an object. Errors: blob_conflict, and those of find().
Result<bool> DirectoryOperations::admit(const PutRequest& request,
                                        const Result<Found>& found) const {
    if (!found && found.error().code != Errc::blob_not_found) {
        return std::unexpected(found.error());
    }
    const bool exists = found.has_value();
    if (request.condition == PutCondition::if_absent && exists) {
        return fail(Errc::blob_conflict, to_string(request.name) + " exists");
    }
    if (request.condition == PutCondition::if_match &&
        (!exists || found->properties.etag != request.etag)) {
        return fail(Errc::blob_conflict, to_string(request.name) + " has another etag");
    }
    return exists;
}

Result<GetResult> DirectoryOperations::get(const GetRequest& request) {
    CW_TRY(check_get(request));
    CW_TRY_ASSIGN(Found found, find(request.name));
    if (!request.if_match.empty() && request.if_match != found.properties.etag) {
        return fail(Errc::blob_conflict, to_string(request.name) + " has another etag");
    }
    const std::uint64_t size = found.properties.size;
    const std::uint64_t offset = std::min(request.offset, size);
    const std::uint64_t wanted = request.length == 0 ? get_bytes_max : request.length;
    GetResult result{ByteVector(std::min(wanted, size - offset)), std::move(found.properties)};
    std::size_t have = 0;
    while (have < result.bytes.size()) {
        const ssize_t n = ::pread(found.fd.get(), &result.bytes[have], result.bytes.size() - have,
                                  static_cast<off_t>(offset + have));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {  // An object never shrinks: the end before its size is damage.
            return fail_errno(Errc::io_error, to_string(request.name), n == 0 ? EIO : errno);
        }
        have += static_cast<std::size_t>(n);
    }
    return result;
}

Result<BlobProperties> DirectoryOperations::head(const BlobName& name) {
    CW_TRY(check_name(name));
    CW_TRY_ASSIGN(Found found, find(name));
    return std::move(found.properties);
}

Result<ListPage> DirectoryOperations::list(Container container, const std::string& prefix,
                                           const std::string& marker) {
    CW_TRY(check_prefix(prefix));
    CW_TRY(require_container(container));
    ListPage page;
    const std::string root = std::string(name_of(container)) + "/";
    CW_TRY_ASSIGN(const bool complete, walk(root, root + prefix, root + marker, page));
    if (!complete) {
        page.next = page.entries.back().name;
    }
    return page;
}

Result<bool> DirectoryOperations::walk(const std::string& directory, const std::string& prefix,
                                       const std::string& marker, ListPage& page) const {
    CW_TRY_ASSIGN(const std::vector<std::string> names, tree_.list(directory));
    for (const std::string& name : names) {
        const std::string path = directory + name;
        // Others may have made entries that no object of ours is called, down to any depth.
        const std::string_view inside = std::string_view(path).substr(path.find('/') + 1);
        if (const bool deeper = name.back() == '/';
            !check_name({Container::data, std::string(inside.substr(0, inside.size() - deeper))})) {
            continue;
        }
        if (name.back() == '/') {
            const bool may_match = path.starts_with(prefix) || prefix.starts_with(path);
            const bool may_follow = path >= marker || marker.starts_with(path);
            if (may_match && may_follow) {
                CW_TRY_ASSIGN(const bool complete, walk(path, prefix, marker, page));
                if (!complete) {
                    return false;
                }
            }
            continue;
        }
        if (!path.starts_with(prefix) || path <= marker) {
            continue;
        }
        if (page.entries.size() == vault_.page_entries) {
            return false;
        }
        const auto status = tree_.status(path);
        if (status && S_ISREG(status->st_mode)) {  // Else removed since it was listed.
            page.entries.push_back(
                {path.substr(path.find('/') + 1), static_cast<std::uint64_t>(status->st_size)});
        }
    }
    return true;
}

Result<void> DirectoryOperations::remove(const BlobName& name) {
    CW_TRY(check_name(name));
    CW_TRY(require_container(name.container));
    const std::string container(name_of(name.container));
    CW_TRY_ASSIGN(const Fd lock, tree_.lock(container, true));
    // The object first: metadata without an object is harmless, the reverse is not.
    CW_TRY(tree_.unlink(object_path(name)));
    CW_TRY(tree_.unlink(metadata_path(name)));
    tree_.prune(object_path(name), container);
    tree_.prune(metadata_path(name), ".causeway/meta/" + container);
    return {};
}

Result<void> DirectoryOperations::create_containers() {
    for (const Container container :
         {Container::data, Container::manifest, Container::keys, Container::control}) {
        CW_TRY(tree_.make_directories(std::string(name_of(container))));
    }
    return {};
}

Result<void> DirectoryOperations::require_container(Container container) const {
    const auto found = tree_.status(std::string(name_of(container)));
    if (!found && found.error().code == Errc::blob_not_found) {
        return fail(Errc::vault_missing, "no directory " + std::string(name_of(container)));
    }
    if (!found) {
        return std::unexpected(found.error());
    }
    return {};
}

Result<DirectoryOperations::Found> DirectoryOperations::find(const BlobName& name) const {
    auto fd = tree_.open_file(object_path(name));
    if (!fd) {
        CW_TRY(require_container(name.container));
        return std::unexpected(std::move(fd).error());
    }
    Found found{std::move(*fd), {}, {}};
    if (::fstat(found.fd.get(), &found.status) != 0) {
        return fail_errno(Errc::io_error, to_string(name), errno);
    }
    found.properties.size = static_cast<std::uint64_t>(found.status.st_size);
    found.properties.etag = etag_of(found.status);
    CW_TRY_ASSIGN(const std::vector<MetadataVersion> versions, read_metadata(name));
    found.properties.metadata = metadata_of(versions, found.properties.etag);
    return found;
}

Result<std::vector<MetadataVersion>> DirectoryOperations::read_metadata(
    const BlobName& name) const {
    const auto bytes = tree_.read_small(metadata_path(name));
    if (!bytes && bytes.error().code == Errc::blob_not_found) {
        return std::vector<MetadataVersion>{};
    }
    if (!bytes) {
        return std::unexpected(bytes.error());
    }
    return decode_metadata(as_text(*bytes));
}

Result<void> DirectoryOperations::write_metadata(const BlobName& name,
                                                 const std::vector<MetadataVersion>& versions) {
    if (std::ranges::all_of(versions, [](const auto& v) { return v.metadata.empty(); })) {
        return tree_.unlink(metadata_path(name));
    }
    return write_sidecar(metadata_path(name), encode_metadata(versions));
}

Result<void> DirectoryOperations::write_sidecar(const std::string& path, const std::string& text) {
    CW_TRY(tree_.make_parents(path));
    CW_TRY_ASSIGN(const std::string temporary,
                  tree_.write_temporary(unique_name(), {as_bytes(text)}, fresh_mtime_ns()));
    bool published = false;
    return tree_.publish(temporary, path, true, published);
}

std::string DirectoryOperations::unique_name() {
    std::array<std::byte, 16> bytes;
    vault_.random.fill(bytes);
    return to_hex(bytes);
}

std::int64_t DirectoryOperations::fresh_mtime_ns() {
    // Wall time for people, random below a microsecond so that a removed and re-created object does
    // not come back with the old etag.
    return static_cast<std::int64_t>(vault_.clock.wall()) * 1'000 +
           static_cast<std::int64_t>(vault_.random.below(1'000));
}

}  // namespace cw::blob
