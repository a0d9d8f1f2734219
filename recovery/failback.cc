#include "recovery/failback.h"

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/full_disk.h"
#include "recovery/block_digests.h"
#include "recovery/failback_fetch.h"
#include "recovery/failback_records.h"

#include <algorithm>
#include <array>
#include <bit>
#include <memory>

namespace cw::recovery {
namespace {

using volume::Phase;
using volume::VolumeWriter;

constexpr std::uint64_t piece_bytes = 16 * mib;

FailbackReport report_of(const VolumeWriter& writer, std::uint64_t disk_bytes, const DiskId& disk) {
    FailbackReport report;
    CW_ASSERT(writer.point().has_value());  // Nothing is switched without one.
    report.point = writer.point()->id;
    report.disk = disk;
    report.cut = writer.point()->cut;
    report.point_time = writer.point()->source_time;
    report.disk_bytes = disk_bytes;
    return report;
}

// Idempotent, and the only place that writes the target.
Result<void> apply(VolumeWriter& writer) {
    for (bool complete = false; !complete;) {
        CW_TRY_ASSIGN(complete, writer.apply_some(piece_bytes));
    }
    return {};
}

class Run final : public CollectedFailback {
public:
    Run(const PointSource& source, const Catalog& catalog, FailbackContext context,
        const FailbackRequest& request)
        : source_(source), catalog_(catalog), context_(context), request_(request) {}

    // Once, before the rest.
    Result<void> collect(const Progress& progress) {
        CW_TRY_ASSIGN(point_, catalog_.find_point(request_.point));
        CW_TRY_ASSIGN(disk_, catalog_.find_disk(*point_, request_.disk));
        if (disk_.size_bytes == 0) {
            return fail(Errc::object_corrupt,
                        "the manifests give no size for disk " + to_string(disk_.disk));
        }
        if (request_.hint) {
            CW_ASSERT(request_.random != nullptr);
            CW_TRY_ASSIGN(hint_,
                          FailbackHint::create(*request_.hint, disk_.size_bytes, *request_.random));
            CW_TRY(find_since());
        }
        auto collected = collect_once(progress);
        if (collected && report_.hint_refuted) {
            CW_TRY(begin_without_hint());
            collected = collect_once(progress);
        }
        if (!collected) {
            const auto dropped = drop();
            CW_TRY(collected);
            CW_TRY(dropped);
        }
        finish_report();
        return {};
    }

    [[nodiscard]] const FailbackReport& report() const noexcept override { return report_; }

    Result<void> complete() override {
        return name_full_disk(switch_over(), request_.target.work_directory, "failback");
    }

    Result<void> drop() override {
        writer_.reset();
        return volume::clear_work_directory(context_.disk, request_.target.work_directory);
    }

private:
    Result<void> stop_if_cancelled() const {
        return request_.cancelled && request_.cancelled()
                   ? fail(Errc::cancelled, "the target is as it was")
                   : Result<void>{};
    }

    Result<void> switch_over() {
        const auto wanted = stop_if_cancelled();
        if (!wanted || report_.blocks_different == 0) {
            const auto dropped = drop();
            CW_TRY(wanted);
            return dropped;
        }
        CW_TRY(writer_->begin_switch(point_->id));
        CW_TRY(apply(*writer_));
        CW_CRASH_POINT("failback.applied");
        return drop();  // It is applied: what is left of it is.
    }

    Result<void> find_since() {
        if (request_.hint_since.empty()) {
            return {};
        }
        CW_TRY_ASSIGN(const auto* point, catalog_.find_point(request_.hint_since));
        CW_TRY_ASSIGN(auto disk, catalog_.find_disk(*point, to_string(disk_.disk)));
        since_disk_ = PointDisk{point, std::move(disk)};
        return since_disk_->disk.size_bytes == disk_.size_bytes
                   ? Result<void>{}
                   : fail(Errc::usage, "the disk was resized since the hint's point");
    }

    Result<void> begin_without_hint() {
        hint_.reset();
        since_disk_.reset();
        writer_.reset();
        report_ = {};
        report_.hint_refuted = true;
        return volume::clear_work_directory(context_.disk, request_.target.work_directory);
    }

    // Everything up to the switch: the target is read only.
    Result<void> collect_once(const Progress& progress) {
        const FailbackTarget& target = request_.target;
        CW_TRY_ASSIGN(writer_, VolumeWriter::open({.work_directory = target.work_directory,
                                                   .target_path = target.path,
                                                   .disk = disk_.disk,
                                                   .size_bytes = disk_.size_bytes,
                                                   .expected_identity = target.expected_identity},
                                                  {context_.disk, context_.probe}));
        CW_TRY_ASSIGN(FailbackRecords records,
                      FailbackRecords::create(catalog_.machine(), *point_, disk_));
        CW_CRASH_POINT("failback.opened");
        CW_TRY(writer_->take(records.begin()));
        FailbackFetch fetch(source_, {point_, disk_}, request_.reader, request_.cancelled);
        since_.reset();
        if (since_disk_) {
            since_ = std::make_unique<FailbackFetch>(source_, *since_disk_, request_.reader,
                                                     request_.cancelled);
        }
        const std::uint64_t supers =
            (disk_.size_bytes + pipeline::super_chunk_bytes - 1) / pipeline::super_chunk_bytes;
        for (std::uint64_t next = 0; next < supers || !fetch.idle();) {
            CW_TRY(stop_if_cancelled());
            if (hint_ && report_.hint_refuted) {
                return {};
            }
            if (next < supers && fetch.has_room()) {
                CW_TRY(compare(fetch, static_cast<std::uint32_t>(next)));
                ++next;
                if (progress) {
                    progress(std::min(next * pipeline::super_chunk_bytes, disk_.size_bytes),
                             disk_.size_bytes);
                }
            }
            CW_TRY_ASSIGN(const auto arrived, fetch.poll(next == supers || !fetch.has_room()));
            if (arrived) {
                CW_TRY(feed(records, *arrived));
            }
        }
        report_.fetched_bytes = fetch.chunk_bytes();
        report_.index_bytes = fetch.index_bytes() + (since_ ? since_->index_bytes() : 0);
        CW_TRY(writer_->take(records.end()));
        CW_CRASH_POINT("failback.collected");
        CW_TRY(writer_->take(records.point()));
        for (bool merged = false; !merged;) {
            CW_TRY_ASSIGN(merged, writer_->merge_some(piece_bytes));
        }
        return {};
    }

    Result<void> compare(FailbackFetch& fetch, std::uint32_t ordinal) {
        using Mask = FailbackHint::Mask;
        const Mask all = blocks_of_super(ordinal, disk_.size_bytes);
        const Mask sample = hint_ ? hint_->sample(ordinal) : 0;
        Mask wanted = hint_ ? hint_->named(ordinal) | sample : all;
        CW_TRY(ask_source(fetch, ordinal, all, wanted));
        report_.blocks_skipped += static_cast<unsigned>(std::popcount(all & ~wanted));
        CW_TRY(read_blocks(ordinal, wanted));
        FailbackBlocks blocks;
        blocks.ordinal = ordinal;
        for (Mask left = wanted; left != 0; left &= left - 1) {
            const auto index = static_cast<unsigned>(std::countr_zero(left));
            const Bytes block = block_of(index);
            const Fingerprint have = fingerprint(block, catalog_.keys().fingerprint_secret);
            const std::optional<Fingerprint>& want = want_.at(index);
            if ((sample >> index & 1) != 0) {
                report_.blocks_sampled += want ? 1 : 0;
                report_.hint_refuted = report_.hint_refuted || (want && want != have);
                continue;
            }
            report_.blocks_compared += want ? 1 : 0;
            report_.blocks_unknown += want ? 0 : 1;
            if (want != have) {
                blocks.add(index, block.size(), have);
            }
        }
        return blocks.empty() ? Result<void>{} : fetch.start(std::move(blocks));
    }

    // What the source knows of one super-chunk's blocks, into want_. Adds to `wanted` those that
    // the hint leaves out although nobody can tell whether they are what they were.
    Result<void> ask_source(FailbackFetch& fetch, std::uint32_t ordinal, FailbackHint::Mask all,
                            FailbackHint::Mask& wanted) {
        const std::uint64_t first = std::uint64_t{ordinal} * FailbackHint::blocks_per_super;
        const FailbackHint::Mask named = wanted;
        for (FailbackHint::Mask left = since_ ? all : named; left != 0; left &= left - 1) {
            const auto index = static_cast<unsigned>(std::countr_zero(left));
            std::optional<Fingerprint>& want = want_.at(index);
            CW_TRY_ASSIGN(want, fetch.digest(first + index));
            if ((named >> index & 1) != 0) {
                continue;
            }
            CW_TRY_ASSIGN(const auto before, since_->digest(first + index));
            if (!want || !before) {
                wanted |= FailbackHint::Mask{1} << index;
            } else if (*want != *before) {
                report_.hint_refuted = true;
            }
        }
        return {};
    }

    // The target's blocks of one super-chunk into content_, each at its place.
    Result<void> read_blocks(std::uint32_t ordinal, FailbackHint::Mask wanted) {
        const std::uint64_t offset = std::uint64_t{ordinal} * pipeline::super_chunk_bytes;
        content_.resize(
            std::min<std::uint64_t>(pipeline::super_chunk_bytes, disk_.size_bytes - offset));
        while (wanted != 0) {
            const int from = std::countr_zero(wanted);
            const int count = std::countr_one(wanted >> from);
            const std::size_t at = static_cast<unsigned>(from) * digest_block_bytes;
            const MutableBytes part = MutableBytes(content_).subspan(
                at, std::min<std::uint64_t>(static_cast<unsigned>(count) * digest_block_bytes,
                                            content_.size() - at));
            CW_TRY(writer_->read_target(offset + at, part));
            wanted &= from + count == 64 ? 0 : ~FailbackHint::Mask{0} << (from + count);
        }
        return {};
    }

    [[nodiscard]] Bytes block_of(unsigned index) const {
        const std::size_t at = index * digest_block_bytes;
        return Bytes(content_).subspan(at, std::min(digest_block_bytes, content_.size() - at));
    }

    // What turned out to be the same after all (it had no fingerprint) is not moved.
    Result<void> feed(FailbackRecords& records, FailbackBlocks& blocks) {
        blocks.drop_same(catalog_.keys().fingerprint_secret);
        if (blocks.empty()) {
            return {};
        }
        report_.blocks_different += blocks.items().size();
        for (const FailbackBlocks::Item& item : blocks.items()) {
            report_.moved_bytes += item.length;
        }
        CW_TRY(writer_->take(records.base(blocks)));
        CW_CRASH_POINT("failback.block_taken");
        return {};
    }

    void finish_report() {
        report_.point = point_->id;
        report_.disk = disk_.disk;
        report_.cut = disk_.cut;
        report_.point_time = point_->source_time;
        report_.disk_bytes = disk_.size_bytes;
    }

    const PointSource& source_;
    const Catalog& catalog_;
    FailbackContext context_;
    const FailbackRequest& request_;
    const vault::PointEntry* point_ = nullptr;
    DiskAtPoint disk_;
    std::unique_ptr<VolumeWriter> writer_;
    std::optional<FailbackHint> hint_;
    std::optional<PointDisk> since_disk_;   // The hint's point.
    std::unique_ptr<FailbackFetch> since_;  // Asked for fingerprints only.
    std::array<std::optional<Fingerprint>, FailbackHint::blocks_per_super> want_;
    ByteVector content_;  // One super-chunk of the target; only what was asked for is filled.
    FailbackReport report_;
};

// Completes a switch that was interrupted.
Result<FailbackReport> resume(FailbackContext context, const FailbackTarget& target) {
    CW_TRY_ASSIGN(const volume::VolumeState state,
                  volume::read_volume_state(context.disk, target.work_directory + "/state"));
    CW_ASSERT(state.phase == Phase::switching);
    CW_TRY_ASSIGN(auto writer, VolumeWriter::open({.work_directory = target.work_directory,
                                                   .target_path = target.path,
                                                   .disk = state.disk,
                                                   .size_bytes = state.size_bytes,
                                                   .expected_identity = target.expected_identity},
                                                  {context.disk, context.probe}));
    FailbackReport report = report_of(*writer, state.size_bytes, state.disk);
    report.resumed = true;
    CW_TRY(apply(*writer));
    writer.reset();
    CW_TRY(volume::clear_work_directory(context.disk, target.work_directory));
    return report;
}

}  // namespace

Result<std::optional<Phase>> failback_phase(Disk& disk, const std::string& work_directory) {
    const std::string path = work_directory + "/state";
    CW_TRY_ASSIGN(const bool there, disk.exists(path));
    if (!there) {
        return std::nullopt;
    }
    CW_TRY_ASSIGN(const volume::VolumeState state, volume::read_volume_state(disk, path));
    return state.phase;
}

Result<std::unique_ptr<CollectedFailback>> collect_failback(const PointSource& source,
                                                            const Catalog& catalog,
                                                            FailbackContext context,
                                                            const FailbackRequest& request,
                                                            const Progress& progress) {
    const std::string& work = request.target.work_directory;
    CW_TRY_ASSIGN(const auto phase, failback_phase(context.disk, work));
    if (phase == Phase::switching) {
        return fail(Errc::target_switching, work);
    }
    if (phase) {  // Of a run that was killed: the target may have changed since.
        CW_TRY(volume::clear_work_directory(context.disk, work));
    }
    auto run = std::make_unique<Run>(source, catalog, context, request);
    CW_TRY(name_full_disk(run->collect(progress), work, "failback"));
    return run;
}

Result<FailbackReport> failback_disk(const PointSource& source, const Catalog& catalog,
                                     FailbackContext context, const FailbackRequest& request,
                                     const Progress& progress) {
    CW_TRY_ASSIGN(const auto phase, failback_phase(context.disk, request.target.work_directory));
    if (phase == Phase::switching) {
        return resume_failback(context, request.target);
    }
    CW_TRY_ASSIGN(const auto collected,
                  collect_failback(source, catalog, context, request, progress));
    CW_TRY(collected->complete());
    return collected->report();
}

Result<FailbackReport> resume_failback(FailbackContext context, const FailbackTarget& target) {
    return name_full_disk(resume(context, target), target.work_directory, "failback");
}

Result<bool> cancel_failback(Disk& disk, const std::string& work_directory) {
    CW_TRY_ASSIGN(const auto phase, failback_phase(disk, work_directory));
    if (phase == Phase::switching) {
        return fail(Errc::target_switching, work_directory);
    }
    if (phase) {
        CW_TRY(volume::clear_work_directory(disk, work_directory));
    }
    return phase == Phase::collecting;
}

}  // namespace cw::recovery
