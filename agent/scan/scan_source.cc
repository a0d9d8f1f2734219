#include "agent/scan/scan_source.h"

#include "base/log.h"

#include <algorithm>
#include <bit>

namespace cw::agent {

ScanSource::ScanSource(Options options, Replicator& replicator, Freezer& freezer,
                       std::vector<Disk> disks, std::unique_ptr<VolumeSnapshots> snapshots)
    : options_(std::move(options)),
      replicator_(replicator),
      freezer_(freezer),
      disks_(std::move(disks)),
      snapshots_(std::move(snapshots)),
      buffer_(super_bytes) {
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        // What is read beneath a fence is what the server will have.
        replicator_.base(i).on_block([this, i](std::uint64_t block, Bytes content) {
            DigestTable& table = disks_[i].digests;
            if (table.load(static_cast<std::uint32_t>(block / 64))) {
                table.set(block % 64, content);
            }
        });
    }
    if (freezer_.owes_thaw()) {
        freezer_.begin_thaw();
        phase_ = Phase::owing;
    }
    if (snapshots_) {
        snapshots_->begin_prepare();  // Removes what a killed agent left.
        phase_ = Phase::owing;
    }
}

bool ScanSource::begin(std::string tag) {
    if (running() || freezer_.state() != Freezer::State::idle || !replicator_.consistent()) {
        return false;
    }
    tag_ = std::move(tag);
    trouble_.reset();
    outcome_.reset();
    differing_bytes_ = 0;
    disk_at_ = ordinal_ = 0;
    snapping_ = snapshots_ != nullptr;
    if (snapping_) {
        snapshot_error_.reset();
        snapshots_->begin_prepare();
        phase_ = Phase::preparing;
    } else {
        hold_still();
    }
    return true;
}

bool ScanSource::step() {
    if (freezer_.state() == Freezer::State::finishing) {
        freezer_.step();  // Its post-hook has no part in what is read.
    }
    switch (phase_) {
        case Phase::idle:
            return false;
        case Phase::owing: {
            const bool removing = snapshots_ && snapshots_->step();
            if (freezer_.step() == Freezer::State::idle && !removing) {
                phase_ = Phase::idle;
            }
            return false;
        }
        case Phase::preparing:
            return step_preparing();
        case Phase::freezing: {
            const auto state = freezer_.step();
            if (state == Freezer::State::frozen) {
                take_views();
                return true;
            }
            if (freezer_.let_go()) {  // It failed, and has been undone.
                trouble_ = freezer_.error();
                end_scan();
            }
            return false;
        }
        case Phase::creating:
            return step_creating();
        case Phase::thawing:
            return step_thawing();
        case Phase::finding:
            return step_finding();
        case Phase::scanning:
            return scan_some();
        case Phase::checking:
            return step_checking();
        case Phase::removing:
            return step_removing();
    }
    return false;
}

bool ScanSource::step_thawing() {
    const bool busy = snapping_ && snapshots_->step();
    freezer_.step();
    if (!freezer_.let_go() || busy) {
        return false;
    }
    if (freezer_.error() && !trouble_) {
        trouble_ = freezer_.error();
    }
    held_ = false;
    if (snapping_ && clones_.empty() && !trouble_ && !snapshot_error_) {
        snapshots_->begin_find();
        phase_ = Phase::finding;
    } else if (snapping_ && snapshot_error_) {
        remove_snapshots();
    } else if (disk_at_ < disks_.size() && !(trouble_ && snapping_)) {
        phase_ = Phase::scanning;  // Of the clones.
    } else {
        finish();
    }
    return true;
}

Result<void> ScanSource::check_disks() {
    resized_ = false;
    for (const Disk& disk : disks_) {
        const BlockImage& image = disk.capture->image();
        if (image.replaced()) {
            return fail(Errc::source_gone,
                        disk.path +
                            " is not the file any more that was opened: no more points "
                            "until the agent is started again");
        }
        if (const std::uint64_t now = image.size_beneath(); now != image.size()) {
            resized_ = was_resized(image);
            return fail(Errc::size_mismatch,
                        disk.path + " has " + std::to_string(now) + " bytes now, protected are " +
                            std::to_string(image.size()) +
                            (resized_ ? ": it is compared again in its new size"
                                      : ": no more points until the agent is started again"));
        }
    }
    return {};
}

// Of what is still: after the views were taken, and after the page cache has written what it holds.
Result<void> ScanSource::take_hints() {
    for (Disk& disk : disks_) {
        if (disk.hints) {
            CW_TRY(disk.capture->image().flush());
            disk.hints->begin(disk.capture->position().fences);
        }
    }
    return {};
}

bool ScanSource::scan_some() {
    if (held_ && freezer_.step() != Freezer::State::frozen) {
        abandon(*freezer_.error());
        return true;
    }
    if (held_ && freezer_.expired()) {
        abandon({Errc::source_unfrozen, "the scan outlasted the time a source may be frozen"});
        return true;
    }
    Disk& disk = disks_[disk_at_];
    BlockImage& view = clones_.empty() ? disk.capture->image() : *clones_[disk_at_];
    const auto end = static_cast<std::uint32_t>((view.size() - 1) / super_bytes + 1);
    ordinal_ = disk.hints ? disk.hints->ledger().next(ordinal_, end) : ordinal_;
    if (ordinal_ < end) {
        const auto scanned = scan_chunk(disk, view, ordinal_);
        if (!scanned) {
            abandon(snapping_ ? Error{Errc::snapshot_failed, to_string(scanned.error())}
                              : scanned.error());
            return true;
        }
        if (!*scanned) {
            if (!replicator_.consistent()) {
                abandon({Errc::resync_required, "the disks lost their place during the scan"});
                return true;
            }
            return false;
        }
        ++ordinal_;
    }
    if (ordinal_ >= end) {
        ordinal_ = 0;
        ++disk_at_;
    }
    if (disk_at_ == disks_.size()) {
        if (held_) {
            freezer_.begin_thaw();
            phase_ = Phase::thawing;
        } else {
            finish();
        }
    }
    return true;
}

// Everything was read, or nothing more will be.
void ScanSource::finish() {
    if (!snapping_) {
        return end_scan();
    }
    clones_.clear();
    if (trouble_) {
        return remove_snapshots();
    }
    snapshots_->begin_check();
    phase_ = Phase::checking;
}

Result<void> ScanSource::read_blocks(Disk& disk, BlockImage& view, std::uint32_t ordinal,
                                     std::uint64_t mask) {
    const std::uint64_t start = std::uint64_t{ordinal} * super_bytes;
    const std::uint64_t size = std::min(super_bytes, view.size() - start);
    while (mask != 0) {  // One run of ones after the other.
        const auto first = static_cast<std::uint64_t>(std::countr_zero(mask));
        const auto count = static_cast<std::uint64_t>(std::countr_one(mask >> first));
        const std::uint64_t from = first * map_block_bytes;
        if (from >= size) {
            break;
        }
        const std::uint64_t length = std::min(count * map_block_bytes, size - from);
        CW_TRY(view.read(start + from, MutableBytes(buffer_).subspan(from, length)));
        if (disk.hints) {
            disk.hints->read(length);
        }
        mask = count == 64 ? 0 : mask & ~(((std::uint64_t{1} << count) - 1) << first);
    }
    return {};
}

Result<bool> ScanSource::scan_chunk(Disk& disk, BlockImage& view, std::uint32_t ordinal) {
    const std::uint64_t start = std::uint64_t{ordinal} * super_bytes;
    const Bytes chunk = Bytes(buffer_).first(std::min(super_bytes, view.size() - start));
    const std::uint64_t mask = disk.hints ? disk.hints->ledger().mask(ordinal) : ~std::uint64_t{0};
    CW_TRY(read_blocks(disk, view, ordinal, mask));
    CW_TRY(disk.digests.load(ordinal));
    for (std::size_t i = 0; i * map_block_bytes < chunk.size(); ++i) {
        const std::uint64_t at = i * map_block_bytes;
        const Bytes block = chunk.subspan(at, std::min(map_block_bytes, chunk.size() - at));
        if ((mask >> i & 1) == 0 || !disk.digests.different(i, block)) {
            continue;
        }
        if (disk.hints && still_) {
            disk.hints->changed(start / map_block_bytes + i);
        }
        // A second look at this chunk skips what was logged: its digest is set.
        CW_TRY_ASSIGN(const bool logged, disk.capture->log_block(start + at, block));
        if (!logged) {
            return false;
        }
        disk.digests.set(i, block);
        differing_bytes_ += block.size();
    }
    CW_TRY(disk.digests.store());
    return true;
}

void ScanSource::end_scan() {
    phase_ = Phase::idle;
    clones_.clear();
    for (Disk& disk : disks_) {
        if (disk.hints) {
            disk.hints->end(!trouble_);
        }
    }
    if (!trouble_ && !still_) {
        trouble_ =
            Error{Errc::source_unfrozen, "no hook, --mount, LVM snapshot or reflink kept it still"};
    }
    if (trouble_) {
        outcome_ = std::unexpected(*trouble_);
    } else {
        const auto kind = !freezer_.can_freeze()    ? pipeline::PointKind::crash
                          : options_.app_consistent ? pipeline::PointKind::app
                                                    : pipeline::PointKind::filesystem;
        std::optional<Replicator::Moment> moment;
        if (viewed_at_) {
            moment.emplace(*viewed_at_);  // The scan may have taken hours since.
        }
        outcome_ = replicator_.make_point(
            kind, tag_, freezer_.summary() + (snapping_ ? ", LVM snapshot" : ""), moment);
    }
    if (!*outcome_) {
        log_warning("agent.scan.no_point", {{"error", outcome_->error()}});
    }
}

void ScanSource::abandon(const Error& why) {
    trouble_ = why;
    disk_at_ = disks_.size();
    if (held_) {
        freezer_.begin_thaw();
        phase_ = Phase::thawing;
    } else {
        finish();
    }
}

}  // namespace cw::agent
