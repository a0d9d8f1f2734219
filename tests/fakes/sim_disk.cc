#include "tests/fakes/sim_disk.h"

#include <algorithm>
#include <cerrno>

namespace cw::fakes {
namespace {

class SimFile final : public File {
public:
    SimFile(std::string path, std::shared_ptr<SimImage> image, bool direct)
        : path_(std::move(path)), image_(std::move(image)), direct_(direct) {}
    [[nodiscard]] std::uint64_t size() const noexcept override { return image_->size(); }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] SimImage& image() noexcept { return *image_; }
    [[nodiscard]] bool direct() const noexcept { return direct_; }

private:
    std::string path_;
    std::shared_ptr<SimImage> image_;
    bool direct_;
};

SimFile& file_of(DiskRequest& request) {
    CW_ASSERT(request.file != nullptr);
    return static_cast<SimFile&>(*request.file);
}

ByteVector gather(const DiskRequest& request) {
    ByteVector out;
    for (unsigned i = 0; i < request.part_count; ++i) {
        const auto* data = static_cast<const std::byte*>(request.parts[i].iov_base);
        out.insert(out.end(), data, data + request.parts[i].iov_len);
    }
    return out;
}

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

// What the kernel would refuse with EINVAL. A disk of odd size has sectors that small.
void check_alignment(const DiskRequest& request) {
    CW_ASSERT(request.offset % block_bytes == 0 && request.part_count <= 1024);
    std::uint64_t end = request.offset;
    for (unsigned i = 0; i < request.part_count; ++i) {
        const iovec part = request.parts[i];
        end += part.iov_len;
        CW_ASSERT(reinterpret_cast<std::uintptr_t>(part.iov_base) % block_bytes == 0);
        CW_ASSERT(part.iov_len % block_bytes == 0 || end == request.file->size());
    }
}

}  // namespace

SimStorage::SimStorage(std::uint64_t seed, FaultPlan plan, Clock* clock)
    : plan_(std::move(plan)), clock_(clock), random_(make_seeded_random(seed)) {}

SimStorage::~SimStorage() {
    CW_ASSERT(disks_.empty());
}

std::unique_ptr<SimDisk> SimStorage::make_disk() {
    std::unique_ptr<SimDisk> disk(new SimDisk(*this));
    disks_.push_back(disk.get());
    return disk;
}

bool SimStorage::hit(std::uint32_t rate, const std::string& path) {
    return rate != 0 && path.find(plan_.only_path) != std::string::npos &&
           random_->below(10'000) < rate;
}

std::uint64_t SimStorage::used_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& entry : names_) {
        sum += entry.second->size();
    }
    return sum;
}

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

void SimStorage::kill() {
    for (SimDisk* disk : disks_) {
        if (!disk->dead_) {
            disk->die();
        }
    }
}

void SimStorage::power_cut() {
    kill();
    for (const NameChange& change : unsynced_names_) {
        if (random_->below(2) == 0) {
            apply_change(change, durable_names_);
        }
    }
    unsynced_names_.clear();
    names_ = durable_names_;
    for (const auto& entry : names_) {
        counts_.torn_cuts += entry.second->dirty_sectors() > 0 ? 1 : 0;
        entry.second->power_cut(*random_);
    }
}

void SimStorage::flip_bit(const std::string& path, std::uint64_t offset, unsigned bit) {
    names_.at(path)->flip_bit(offset, bit);
}

void SimStorage::overwrite(const std::string& path, std::uint64_t offset, Bytes bytes) {
    names_.at(path)->write(offset, bytes);
    names_.at(path)->persist_all();
}

ByteVector SimStorage::contents(const std::string& path) {
    return contents(path, 0, size_of(path));
}

ByteVector SimStorage::contents(const std::string& path, std::uint64_t offset,
                                std::uint64_t length) {
    ByteVector out(length);
    names_.at(path)->read(offset, out, false);
    return out;
}

std::vector<std::uint64_t> SimStorage::written_blocks(const std::string& path) const {
    return names_.at(path)->written_blocks();
}

std::uint64_t SimStorage::size_of(const std::string& path) const {
    return names_.at(path)->size();
}

void SimStorage::erase(const std::string& path) {
    names_.erase(path);
    durable_names_.erase(path);
}

void SimStorage::fail_reads(const std::string& path, std::uint64_t offset, std::uint64_t length,
                            std::uint64_t times) {
    CW_ASSERT(names_.contains(path) && length > 0);
    for (std::uint64_t at = offset / block_bytes; at * block_bytes < offset + length; ++at) {
        bad_blocks_[path][at] = times;
    }
}

std::uint64_t SimStorage::unreadable_bytes(const std::string& path) const {
    const auto bad = bad_blocks_.find(path);
    return bad == bad_blocks_.end() ? 0 : bad->second.size() * block_bytes;
}

bool SimStorage::refuse_read(const std::string& path, std::uint64_t offset, std::uint64_t length) {
    const auto bad = bad_blocks_.find(path);
    if (bad == bad_blocks_.end()) {
        return false;
    }
    const auto first = bad->second.lower_bound(offset / block_bytes);
    if (first == bad->second.end() || first->first * block_bytes >= offset + length) {
        return false;
    }
    if (first->second != UINT64_MAX && --first->second == 0) {
        bad->second.erase(first);
    }
    return true;
}

void SimStorage::heal(const std::string& path, std::uint64_t offset, std::uint64_t length) {
    const auto bad = bad_blocks_.find(path);
    if (bad != bad_blocks_.end()) {
        std::erase_if(bad->second, [&](const auto& block) {
            return block.first * block_bytes + block_bytes > offset &&
                   block.first * block_bytes < offset + length;
        });
    }
}

std::size_t SimStorage::dirty_sectors(const std::string& path) {
    return names_.at(path)->dirty_sectors();
}

SimDisk::~SimDisk() {
    std::erase(storage_.disks_, this);
}

void SimDisk::die() {
    for (const Pending& pending : queue_) {
        DiskRequest& request = *pending.request;
        if (request.op != DiskOp::write) {
            continue;
        }
        const ByteVector bytes = gather(request);
        const std::uint64_t fate = storage_.random_->below(3);  // All, a part, nothing.
        const std::size_t sectors = bytes.size() / sector_bytes;
        const std::size_t landed =
            fate == 0 ? bytes.size()
                      : (fate == 1 ? storage_.random_->below(sectors + 1) * sector_bytes : 0);
        file_of(request).image().write(request.offset, Bytes(bytes).first(landed));
    }
    queue_.clear();
    dead_ = true;
}

std::unexpected<Error> SimDisk::injected(const std::string& what, const std::string& path) {
    return fail_errno(Errc::io_error, "injected: " + what + " " + path, EIO);
}

Result<std::unique_ptr<File>> SimDisk::open(const std::string& path, OpenOptions options) {
    CW_ASSERT(!dead_);
    if (storage_.hit(storage_.plan_.metadata_error, path)) {
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
    auto image = std::make_shared<SimImage>();
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
    if (storage_.hit(storage_.plan_.metadata_error, from)) {
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
    if (storage_.hit(storage_.plan_.metadata_error, path)) {
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
    if (storage_.hit(storage_.plan_.metadata_error, directory)) {
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
    if (storage_.hit(storage_.plan_.metadata_error, sim.path())) {
        return injected("resize", sim.path());
    }
    if (bytes > sim.size() &&
        storage_.used_bytes() + (bytes - sim.size()) > storage_.plan_.capacity_bytes) {
        ++storage_.counts_.no_space;
        return fail_errno(Errc::spool_full, "resize " + sim.path(), ENOSPC);
    }
    sim.image().resize(bytes);
    return {};
}

Result<std::uint64_t> SimDisk::free_bytes(const std::string&) {
    const std::uint64_t used = storage_.used_bytes();
    return storage_.plan_.capacity_bytes > used ? storage_.plan_.capacity_bytes - used : 0;
}

void SimDisk::start(DiskRequest& request) {
    CW_ASSERT(!dead_);
    SimFile& file = file_of(request);
    if (file.direct() && request.op != DiskOp::sync) {
        check_alignment(request);
    }
    const FaultPlan& plan = storage_.plan_;
    Pending pending{&request, polls_ + 1, {}};
    if (plan.delay_polls_max > 0) {
        pending.due_poll += storage_.random_->below(plan.delay_polls_max + 1);
    }
    const bool syncs = request.op == DiskOp::sync || request.durable;
    if (syncs && storage_.clock_ != nullptr) {
        pending.due = storage_.clock_->boot() + plan.durable_delay_ns;
    }
    queue_.push_back(pending);
}

bool SimDisk::ready(const Pending& pending) const {
    return pending.due_poll <= polls_ &&
           (storage_.clock_ == nullptr || storage_.clock_->boot() >= pending.due);
}

std::size_t SimDisk::poll() {
    if (dead_) {
        return 0;
    }
    ++polls_;
    std::size_t done = 0;
    while (true) {
        std::vector<std::size_t> due;
        for (std::size_t i = 0; i < queue_.size(); ++i) {
            if (ready(queue_[i])) {
                due.push_back(i);
            }
        }
        if (due.empty() || dead_) {
            return done;
        }
        const bool shuffle = storage_.plan_.delay_polls_max > 0;
        const std::size_t pick = due[shuffle ? storage_.random_->below(due.size()) : 0];
        DiskRequest& request = *queue_[pick].request;
        queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(pick));
        perform(request);
        ++done;
        request.done(request);
    }
}

void SimDisk::wait(std::int64_t) {
    // Somebody blocks on this disk: the next completion is as late as it may be, and now due.
    if (queue_.empty()) {
        return;
    }
    const auto earliest = std::ranges::min_element(queue_, {}, &Pending::due_poll);
    earliest->due_poll = polls_;
    earliest->due = Nanos{};
}

void SimDisk::perform(DiskRequest& request) {
    switch (request.op) {
        case DiskOp::read:
            return perform_read(request);
        case DiskOp::write:
            return perform_write(request);
        case DiskOp::sync:
            return perform_sync(request);
    }
}

void SimDisk::perform_read(DiskRequest& request) {
    SimFile& file = file_of(request);
    std::uint64_t wanted = 0;
    for (unsigned i = 0; i < request.part_count; ++i) {
        wanted += request.parts[i].iov_len;
    }
    if (storage_.hit(storage_.plan_.read_error, file.path()) ||
        storage_.refuse_read(file.path(), request.offset, wanted)) {
        ++storage_.counts_.read_error;
        request.result = -EIO;
        return;
    }
    std::uint64_t at = request.offset;
    for (unsigned i = 0; i < request.part_count && at < file.size(); ++i) {
        const std::uint64_t length =
            std::min<std::uint64_t>(request.parts[i].iov_len, file.size() - at);
        file.image().read(at, {static_cast<std::byte*>(request.parts[i].iov_base), length},
                          file.direct());
        at += length;
    }
    request.result = static_cast<std::int64_t>(at - std::min(at, request.offset));
}

void SimDisk::perform_sync(DiskRequest& request) {
    SimFile& file = file_of(request);
    request.result = 0;
    if (storage_.hit(storage_.plan_.sync_error, file.path())) {
        ++storage_.counts_.sync_error;
        file.image().fail_sync(0, align_up(file.size(), block_bytes), *storage_.random_);
        request.result = -EIO;
        return;
    }
    if (!storage_.plan_.sync_ignored) {
        file.image().persist_all();
    }
}

void SimDisk::perform_write(DiskRequest& request) {
    SimFile& file = file_of(request);
    const ByteVector bytes = gather(request);
    request.result = static_cast<std::int64_t>(bytes.size());
    const std::uint64_t end = request.offset + bytes.size();
    if (end > file.size() &&
        storage_.used_bytes() + (end - file.size()) > storage_.plan_.capacity_bytes) {
        ++storage_.counts_.no_space;
        request.result = -ENOSPC;
        return;
    }
    storage_.heal(file.path(), request.offset, bytes.size());
    write_faulty(request, bytes);
    if (!request.durable || request.result < 0 || storage_.plan_.durable_ignored) {
        return;
    }
    if (storage_.hit(storage_.plan_.sync_error, file.path())) {
        ++storage_.counts_.sync_error;
        file.image().fail_sync(request.offset, bytes.size(), *storage_.random_);
        request.result = -EIO;
        return;
    }
    file.image().persist(request.offset, bytes.size());
}

void SimDisk::write_faulty(DiskRequest& request, Bytes bytes) {
    SimFile& file = file_of(request);
    const FaultPlan& plan = storage_.plan_;
    Random& random = *storage_.random_;
    if (storage_.hit(plan.write_error, file.path())) {
        ++storage_.counts_.write_error;
        const std::size_t landed = random.below(bytes.size() / sector_bytes + 1) * sector_bytes;
        file.image().write(request.offset, bytes.first(landed));
        request.result = -EIO;
    } else if (storage_.hit(plan.write_lost, file.path())) {
        ++storage_.counts_.write_lost;
    } else if (storage_.hit(plan.write_misdirected, file.path()) && file.size() > bytes.size()) {
        ++storage_.counts_.write_misdirected;
        const std::uint64_t room = (file.size() - bytes.size()) / block_bytes;
        const std::uint64_t elsewhere = random.below(room + 1) * block_bytes;
        file.image().write(elsewhere, bytes);
        file.image().persist(elsewhere, bytes.size());
    } else {
        file.image().write(request.offset, bytes);
        if (storage_.hit(plan.write_flipped, file.path())) {
            ++storage_.counts_.write_flipped;
            file.image().flip_bit(request.offset + random.below(bytes.size()),
                                  static_cast<unsigned>(random.below(8)));
        }
    }
}

}  // namespace cw::fakes
