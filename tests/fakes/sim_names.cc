// Names: a change of a directory's entry is seen at once and survives a power cut for sure only
// when that directory was synced. Directories themselves are durable when they are made, as
// Disk::create_directories() promises.
#include "tests/fakes/sim_disk.h"
#include "tests/fakes/sim_file.h"

#include <cerrno>

namespace cw::fakes {

void SimStorage::apply_change(const NameChange& change,
                              std::map<std::string, std::shared_ptr<SimImage>>& names) {
    if (!change.renamed_from.empty()) {
        names.erase(change.renamed_from);
    }
    if (change.image) {
        names[change.path] = change.image;
    } else {
        names.erase(change.path);
    }
}

void SimStorage::record_change(NameChange change) {
    apply_change(change, names_);
    unsynced_names_.push_back(std::move(change));
}

Result<std::unique_ptr<File>> SimDisk::open(const std::string& path, OpenOptions options) {
    CW_ASSERT(!dead_);
    if (storage_.hit(storage_.plan_.metadata_error, path)) {
        ++storage_.counts_.metadata_error;
        return injected("open", path);
    }
    const auto it = storage_.names_.find(path);
    if (it != storage_.names_.end()) {
        if (options.create && options.exclusive) {
            return fail(Errc::file_exists, path);
        }
        return std::make_unique<SimFile>(path, it->second, options.direct);
    }
    if (!options.create || !storage_.directories_.contains(directory_of(path))) {
        return fail(Errc::not_found, path);
    }
    storage_.begin_change();
    if (storage_.struck()) {
        return injected("create", path);
    }
    auto image = std::make_shared<SimImage>(storage_.plan_.earlier_kept);
    storage_.record_change({directory_of(path), path, image, ""});
    return std::make_unique<SimFile>(path, image, options.direct);
}

Result<void> SimDisk::create_directories(const std::string& path) {
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
        storage_.directories_.insert(path.substr(0, slash));
    }
    storage_.directories_.insert(path);
    return {};
}

Result<void> SimDisk::rename(const std::string& from, const std::string& to) {
    CW_ASSERT(!dead_);
    const auto it = storage_.names_.find(from);
    if (it == storage_.names_.end()) {
        return fail(Errc::not_found, from);
    }
    if (storage_.refuses_change(from)) {
        return injected("rename", from);
    }
    storage_.record_change({directory_of(to), to, it->second, from});
    return {};
}

Result<void> SimDisk::remove(const std::string& path) {
    CW_ASSERT(!dead_);
    if (!storage_.names_.contains(path)) {
        return fail(Errc::not_found, path);
    }
    if (storage_.refuses_change(path)) {
        return injected("remove", path);
    }
    storage_.record_change({directory_of(path), path, nullptr, ""});
    return {};
}

Result<std::vector<std::string>> SimDisk::list(const std::string& directory) {
    std::vector<std::string> out;
    for (const auto& entry : storage_.names_) {
        if (directory_of(entry.first) == directory) {
            out.push_back(entry.first.substr(directory.size() + 1));
        }
    }
    return out;
}

Result<void> SimDisk::sync_directory(const std::string& directory) {
    CW_ASSERT(!dead_);
    if (storage_.refuses_change(directory)) {
        return injected("sync_directory", directory);
    }
    std::erase_if(storage_.unsynced_names_, [&](const SimStorage::NameChange& change) {
        if (change.directory == directory) {
            SimStorage::apply_change(change, storage_.durable_names_);
            return true;
        }
        return false;
    });
    return {};
}

Result<bool> SimDisk::exists(const std::string& path) {
    return storage_.names_.contains(path) || storage_.directories_.contains(path);
}

Result<void> SimDisk::resize(File& file, std::uint64_t bytes, bool) {
    CW_ASSERT(!dead_);
    auto& sim = static_cast<SimFile&>(file);
    if (storage_.refuses_change(sim.path())) {
        return injected("resize", sim.path());
    }
    if (bytes > sim.size() &&
        storage_.used_bytes() + (bytes - sim.size()) > storage_.plan_.capacity_bytes) {
        ++storage_.counts_.no_space;
        return fail_errno(Errc::disk_full, "resize " + sim.path(), ENOSPC);
    }
    sim.image().resize(bytes);
    return {};
}

Result<std::uint64_t> SimDisk::free_bytes(const std::string&) {
    const std::uint64_t used = storage_.used_bytes();
    return storage_.plan_.capacity_bytes > used ? storage_.plan_.capacity_bytes - used : 0;
}

}  // namespace cw::fakes
