#include "tests/fakes/sim_disk.h"

#include "tests/fakes/sim_file.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace cw::fakes {
namespace {

SimFile& file_of(DiskRequest& request) {
    CW_ASSERT(request.file != nullptr);
    return static_cast<SimFile&>(*request.file);
}

// All that is to be written; in `scratch`, if it is not in one place already.
Bytes gathered(const DiskRequest& request, ByteVector& scratch) {
    const auto bytes_of = [](const iovec& part) {
        return Bytes(static_cast<const std::byte*>(part.iov_base), part.iov_len);
    };
    if (request.part_count == 1) {
        return bytes_of(request.parts[0]);
    }
    for (unsigned i = 0; i < request.part_count; ++i) {
        const Bytes part = bytes_of(request.parts[i]);
        scratch.insert(scratch.end(), part.begin(), part.end());
    }
    return scratch;
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

SimDisk::~SimDisk() {
    std::erase(storage_.disks_, this);
}

void SimDisk::die() {
    land_some();
    queue_.clear();
    dead_ = true;
}

void SimDisk::land_some() {
    for (Pending& pending : queue_) {
        DiskRequest& request = *pending.request;
        if (request.op != DiskOp::write || std::exchange(pending.too_late, true)) {
            continue;
        }
        ByteVector scratch;
        const Bytes bytes = gathered(request, scratch);
        const std::uint64_t fate = storage_.random_->below(3);  // All, a part, nothing.
        const std::size_t sectors = bytes.size() / sector_bytes;
        const std::size_t landed =
            fate == 0 ? bytes.size()
                      : (fate == 1 ? storage_.random_->below(sectors + 1) * sector_bytes : 0);
        SimImage& image = file_of(request).image();
        image.write(request.offset, bytes.first(landed));
        // One may be whole on the platter, and nobody has heard of it.
        if (fate == 0 && request.durable && storage_.random_->below(2) == 0) {
            image.persist(request.offset, bytes.size());
        }
    }
}

std::unexpected<Error> SimDisk::injected(const std::string& what, const std::string& path) {
    return fail_errno(Errc::io_error, "injected: " + what + " " + path, EIO);
}

void SimDisk::start(DiskRequest& request) {
    CW_ASSERT(!dead_);
    SimFile& file = file_of(request);
    if (file.direct() && request.op != DiskOp::sync) {
        check_alignment(request);
    }
    const FaultPlan& plan = storage_.plan_;
    Pending pending{&request, polls_ + 1, {}};
    pending.too_late = request.op != DiskOp::read && storage_.begin_change();
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
    if (storage_.struck() && pending.request->op != DiskOp::read) {
        return awaited_;
    }
    return pending.due_poll <= polls_ &&
           (storage_.clock_ == nullptr || storage_.clock_->boot() >= pending.due);
}

std::size_t SimDisk::poll() {
    if (dead_) {
        return 0;
    }
    ++polls_;
    if (awaited_) {
        land_some();
    }
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
    awaited_ = storage_.struck();
    const auto earliest = std::ranges::min_element(queue_, {}, &Pending::due_poll);
    earliest->due_poll = polls_;
    earliest->due = Nanos{};
}

void SimDisk::perform(DiskRequest& request) {
    if (storage_.struck() && request.op != DiskOp::read) {
        request.result = -EIO;
        return;
    }
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
    storage_.weaken(file.path(), request.offset,
                    std::min(wanted, file.size() - std::min(file.size(), request.offset)));
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
    ByteVector scratch;
    const Bytes bytes = gathered(request, scratch);
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
        storage_.note_astray(file.path(), request.offset, bytes);
    } else if (storage_.hit(plan.write_misdirected, file.path()) && file.size() > bytes.size()) {
        ++storage_.counts_.write_misdirected;
        AstrayWrite& noted = storage_.note_astray(file.path(), request.offset, bytes);
        const std::uint64_t room = (file.size() - bytes.size()) / block_bytes;
        const std::uint64_t elsewhere = random.below(room + 1) * block_bytes;
        noted.landed = elsewhere;
        noted.hit = ByteVector(bytes.size());
        file.image().read(elsewhere, noted.hit, false);
        file.image().write(elsewhere, bytes);
        file.image().persist(elsewhere, bytes.size());
    } else {
        file.image().write(request.offset, bytes);
        if (storage_.hit(plan.write_flipped, file.path())) {
            ++storage_.counts_.write_flipped;
            storage_.note_astray(file.path(), request.offset, bytes);
            file.image().flip_bit(request.offset + random.below(bytes.size()),
                                  static_cast<unsigned>(random.below(8)));
        }
    }
}

}  // namespace cw::fakes
