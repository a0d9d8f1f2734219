#include "egress/volume/volume_writer.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace cw::volume {
namespace {

using pipeline::ExtentOp;
using pipeline::Record;
using pipeline::RecordHeader;
using pipeline::RecordType;

constexpr std::uint64_t digest_bytes = 64 * kib, apply_bytes = 1 * mib;

Seq last_of(const RecordHeader& header) {
    return Seq{raw(header.seq) + header.seq_count - 1};
}

bool has_extents(RecordType type) noexcept {
    return type == RecordType::write || type == RecordType::base;
}

bool is_device(const std::string& identity) noexcept {
    return identity.starts_with("device ");
}

}  // namespace

Result<std::unique_ptr<VolumeWriter>> VolumeWriter::open(Options options, Context context) {
    CW_ASSERT(options.size_bytes > 0 && options.size_bytes % sector_bytes == 0);
    std::unique_ptr<VolumeWriter> writer(new VolumeWriter(std::move(options), context));
    CW_TRY(writer->start());
    return writer;
}

Result<void> VolumeWriter::start() {
    CW_TRY(context_.probe.check_unused(options_.target_path));
    CW_TRY_ASSIGN(const std::string identity, context_.probe.identity(options_.target_path));
    if (!options_.expected_identity.empty() && identity != options_.expected_identity) {
        return fail(Errc::target_unsafe, options_.target_path + " is '" + identity + "', not '" +
                                             options_.expected_identity + "'");
    }
    CW_TRY(context_.disk.create_directories(options_.work_directory));
    CW_TRY_ASSIGN(const bool known, context_.disk.exists(path("state")));
    if (known) {
        CW_TRY_ASSIGN(state_, read_volume_state(context_.disk, path("state")));
        if (state_.disk != options_.disk || state_.size_bytes != options_.size_bytes ||
            state_.target_identity != identity) {
            return fail(Errc::target_unsafe,
                        options_.work_directory + " was begun for another disk or target");
        }
    } else {
        state_ = {.disk = options_.disk,
                  .size_bytes = options_.size_bytes,
                  .target_path = options_.target_path,
                  .target_identity = identity,
                  .point = {}};
        CW_TRY(clear_files());
        CW_TRY(write_volume_state(context_.disk, path("state"), state_));
    }
    CW_TRY(open_target());
    if (state_.phase == Phase::done) {
        return clear_files();  // A kill right after the last word may have left them.
    }
    CW_TRY_ASSIGN(overlay_, Overlay::open(context_.disk, path("overlay"), path("overlay.map"),
                                          *target_, options_.size_bytes));
    CW_TRY_ASSIGN(log_, RedoLog::open(context_.disk, path("redo.log"), state_.log_number));
    CW_TRY(context_.disk.sync_directory(options_.work_directory));
    return replay();
}

// Held exclusively where the kernel can: nobody mounts it meanwhile.
Result<void> VolumeWriter::open_target() {
    target_.reset();
    OpenOptions how;
    how.write = state_.phase == Phase::switching;
    how.exclusive = is_device(state_.target_identity);
    CW_TRY_ASSIGN(target_, context_.disk.open(options_.target_path, how));
    if (target_->size() != options_.size_bytes) {
        return fail(Errc::target_unsafe, options_.target_path + " has " +
                                             std::to_string(target_->size()) + " bytes, the disk " +
                                             std::to_string(options_.size_bytes));
    }
    return {};
}

Result<void> VolumeWriter::replay() {
    generation_ = state_.generation;
    received_ = state_.received;
    unsettled_.assign((options_.size_bytes + digest_bytes - 1) / digest_bytes, false);
    CW_TRY_ASSIGN(const auto entries, log_->recover());
    for (const RedoEntry& entry : entries) {
        CW_TRY(note(entry));
        if (entry.header.type == RecordType::point && state_.phase == Phase::collecting) {
            CW_TRY_ASSIGN(const ByteVector payload, log_->table(entry));
            CW_TRY_ASSIGN(const auto point, pipeline::decode_point(payload));
            // The merge was interrupted: it is done again from the start.
            CW_TRY(merge({point.id, generation_, received_, point.source_time}));
            break;
        }
    }
    // What recovery has read may still be in the cache only.
    CW_TRY(sync());
    return {};
}

// Keeps the books of one entry that is in the log.
Result<void> VolumeWriter::note(const RedoEntry& entry) {
    const RecordHeader& header = entry.header;
    if (header.type == RecordType::resync_begin) {
        era_ += header.key.generation != generation_ ? 1U : 0U;
        generation_ = header.key.generation;
        fence_ = header.seq;
    } else if (header.type == RecordType::resync_end) {
        fence_.reset();
    }
    if (header.seq_count > 0) {
        received_ = last_of(header);
    }
    if (has_extents(header.type)) {
        CW_TRY_ASSIGN(const ByteVector bytes, log_->table(entry));
        CW_TRY_ASSIGN(const auto table,
                      pipeline::read_extent_table(bytes, header.data_bytes, options_.size_bytes));
        for (const auto& extent : table.extents) {
            const std::uint64_t last = (extent.offset + extent.length - 1) / digest_bytes;
            for (std::uint64_t block = extent.offset / digest_bytes; block <= last; ++block) {
                unsettled_[block] = true;
            }
        }
    }
    pending_.push_back(entry);
    pending_.back().era = era_;
    return {};
}

// True: to be taken. False: a duplicate.
Result<bool> VolumeWriter::check_sequence(const RecordHeader& header) {
    if (header.type == RecordType::resync_begin) {
        const bool anew = header.key.generation != generation_;
        if (!anew && header.seq <= received_) {
            return false;
        }
        return true;  // May jump forward: its BASE covers what lies between.
    }
    if (header.key.generation != generation_) {
        return fail(Errc::generation_mismatch, "expected a RESYNC_BEGIN");
    }
    if (header.type == RecordType::base) {
        if (!fence_ || header.seq != *fence_) {
            return fail(Errc::generation_mismatch, "BASE of a fence that is not open");
        }
        return true;
    }
    if (header.seq_count == 0) {
        return true;
    }
    if (last_of(header) <= received_) {
        return false;
    }
    if (header.seq != next(received_)) {
        return fail(Errc::seq_gap, "expected " + std::to_string(raw(received_) + 1) + ", not " +
                                       std::to_string(raw(header.seq)));
    }
    if (header.type == RecordType::resync_end && !fence_) {
        return fail(Errc::generation_mismatch, "RESYNC_END without a fence");
    }
    return true;
}

Result<void> VolumeWriter::take(const Record& record) {
    if (broken_) {
        return fail(Errc::io_error, "the redo log failed; reopen the volume");
    }
    if (state_.phase != Phase::collecting) {
        return fail(Errc::target_switching, options_.target_path);
    }
    const RecordHeader& header = record.header;
    if (header.type == RecordType::point) {
        return take_point(record);
    }
    if (header.type == RecordType::resize) {
        return fail(Errc::size_mismatch, "the disk was resized: the target keeps its size");
    }
    if (header.type == RecordType::flush || header.type == RecordType::point_result) {
        return {};  // Every sync covers everything taken.
    }
    CW_TRY_ASSIGN(const bool wanted, check_sequence(header));
    if (!wanted) {
        return {};
    }
    if (has_extents(header.type)) {
        CW_TRY_ASSIGN(const auto table,
                      pipeline::read_extent_table(record.table.bytes(), header.data_bytes,
                                                  options_.size_bytes));
        CW_TRY(pipeline::check_extents(record, table));
    }
    const auto entry = log_->append(record);
    if (!entry) {
        broken_ = true;  // What it left behind is unknown: recovery decides.
        return std::unexpected(entry.error());
    }
    return note(*entry);
}

Result<void> VolumeWriter::sync() {
    if (auto synced = log_->sync(); !synced) {
        broken_ = true;  // Never retried: the kernel may have marked the pages clean.
        return synced;
    }
    durable_ = received_;
    return {};
}

Result<void> VolumeWriter::take_point(const Record& record) {
    CW_TRY_ASSIGN(const auto point, pipeline::decode_point(record.table.bytes()));
    const auto cut = std::ranges::find(point.cuts, options_.disk, &pipeline::DiskCut::disk);
    if (cut == point.cuts.end() || cut->generation != generation_ || cut->cut != received_ ||
        fence_) {
        return fail(Errc::seq_gap, "the point does not fit this disk: cut or fence");
    }
    Record kept;  // Only what identifies it: its place in the log says the rest.
    kept.header = record.header;
    kept.header.key.generation = generation_;
    kept.header.data_bytes = 0;
    kept.table = pipeline::TableBuffer(record.table.bytes().size());
    std::ranges::copy(record.table.bytes(), kept.table.bytes().begin());
    const auto entry = log_->append(kept);
    if (!entry) {
        broken_ = true;
        return std::unexpected(entry.error());
    }
    CW_TRY(sync());  // The point stands: from here on the merge is repeated until it succeeds.
    auto merged = merge({point.id, generation_, received_, point.source_time});
    broken_ = broken_ || !merged;
    return merged;
}

Result<void> VolumeWriter::merge(const HeldPoint& point) {
    std::set<std::pair<std::uint32_t, Seq>> ended;  // Fences whose BASE counts.
    std::optional<std::pair<std::uint32_t, Seq>> open;
    for (const RedoEntry& entry : pending_) {
        if (entry.header.type == RecordType::resync_begin) {
            open = {entry.era, entry.header.seq};
        } else if (entry.header.type == RecordType::resync_end && open) {
            ended.insert(*open);
        }
    }
    // BASE of fence S0 lies above everything < S0 and beneath everything > S0, whenever it came.
    std::ranges::stable_sort(pending_, {}, [](const RedoEntry& entry) {
        return std::tuple(entry.era, entry.header.seq);
    });
    for (const RedoEntry& entry : pending_) {
        const bool base = entry.header.type == RecordType::base;
        if (entry.header.type == RecordType::write ||
            (base && ended.contains({entry.era, entry.header.seq}))) {
            CW_TRY(merge_entry(entry));
        }
    }
    CW_TRY(overlay_->settle());
    VolumeState after = state_;
    after.point = point;
    after.generation = generation_;
    after.received = received_;
    ++after.log_number;
    CW_TRY(write_volume_state(context_.disk, path("state"), after));
    state_ = after;
    log_->restart(state_.log_number);
    pending_.clear();
    unsettled_.assign(unsettled_.size(), false);
    durable_ = received_;
    return {};
}

Result<void> VolumeWriter::merge_entry(const RedoEntry& entry) {
    CW_TRY_ASSIGN(const ByteVector bytes, log_->table(entry));
    CW_TRY_ASSIGN(const auto table,
                  pipeline::read_extent_table(bytes, entry.header.data_bytes, options_.size_bytes));
    for (const auto& extent : table.extents) {
        if (extent.op != ExtentOp::write) {
            CW_TRY(overlay_->zero(extent.offset, extent.length));
            continue;
        }
        CW_TRY_ASSIGN(const ByteVector data,
                      log_->data(entry, extent.data_position, extent.length));
        if (crc32c(data) != extent.crc) {  // End to end: from the agent to here.
            return fail(Errc::record_corrupt,
                        "redo log, sequence " + std::to_string(raw(entry.header.seq)));
        }
        CW_TRY(overlay_->write(extent.offset, data));
    }
    return {};
}

Result<std::vector<std::optional<Fingerprint>>> VolumeWriter::digests(
    std::uint64_t first_block, std::uint32_t count, const FingerprintSecret& secret) {
    std::vector<std::optional<Fingerprint>> out(count);
    if (state_.phase != Phase::collecting) {
        return out;
    }
    ByteVector block(digest_bytes);
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t number = first_block + i;
        if (number >= options_.size_bytes / digest_bytes || unsettled_[number]) {
            continue;
        }
        CW_TRY(overlay_->read(number * digest_bytes, block));
        out[i] = fingerprint(block, secret);
    }
    return out;
}

Result<void> VolumeWriter::cancel() {
    if (state_.phase == Phase::switching) {
        return fail(Errc::target_switching, options_.target_path);
    }
    overlay_.reset();
    log_.reset();
    pending_.clear();
    // First the word, then the deed: a kill in between leaves files that the next start clears.
    CW_TRY(context_.disk.remove(path("state")));
    CW_TRY(context_.disk.sync_directory(options_.work_directory));
    fence_.reset();
    era_ = 0;
    broken_ = false;
    return start();
}

Result<void> VolumeWriter::begin_switch(const PointId& expected) {
    if (state_.phase != Phase::collecting) {
        return fail(Errc::target_switching, options_.target_path);
    }
    if (!state_.point || state_.point->id != expected) {
        return fail(Errc::point_not_found,
                    "the overlay holds " +
                        (state_.point ? to_string(state_.point->id) : std::string("no point")));
    }
    CW_TRY(context_.probe.check_unused(options_.target_path));
    CW_TRY_ASSIGN(const std::string identity, context_.probe.identity(options_.target_path));
    if (identity != state_.target_identity) {
        return fail(Errc::target_unsafe, options_.target_path + " has become '" + identity + "'");
    }
    VolumeState after = state_;
    after.phase = Phase::switching;
    CW_TRY(write_volume_state(context_.disk, path("state"), after));
    state_ = after;
    applied_to_ = 0;
    CW_TRY(open_target());  // Now for writing.
    overlay_->rebind(*target_);
    return {};
}

Result<bool> VolumeWriter::apply_some(std::uint64_t budget_bytes) {
    if (state_.phase == Phase::done) {
        return true;
    }
    if (state_.phase != Phase::switching) {
        return fail(Errc::usage, "nothing was switched");
    }
    ByteVector piece(apply_bytes);
    for (std::uint64_t done = 0; done < budget_bytes;) {
        const Overlay::Run run = overlay_->next_run(applied_to_, apply_bytes);
        if (run.length == 0) {
            CW_TRY(sync_file(context_.disk, *target_));
            VolumeState after = state_;
            after.phase = Phase::done;
            CW_TRY(write_volume_state(context_.disk, path("state"), after));
            state_ = after;
            overlay_.reset();
            log_.reset();
            CW_TRY(clear_files());
            return true;
        }
        const MutableBytes part = MutableBytes(piece).first(run.length);
        CW_TRY(overlay_->read(run.offset, part));
        CW_TRY(write_at(context_.disk, *target_, run.offset, part, false));
        applied_to_ = run.offset + run.length;
        done += run.length;
    }
    return false;
}

Result<void> VolumeWriter::clear_files() {
    for (const char* name : {"overlay.map", "overlay", "redo.log"}) {
        CW_TRY_ASSIGN(const bool there, context_.disk.exists(path(name)));
        if (there) {
            CW_TRY(context_.disk.remove(path(name)));
        }
    }
    return context_.disk.sync_directory(options_.work_directory);
}

}  // namespace cw::volume
