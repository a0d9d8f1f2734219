#include "appliance/master_target/target_source.h"

#include "appliance/master_target/target_settings.h"
#include "base/full_disk.h"
#include "egress/volume/point_changes.h"
#include "egress/volume/point_view.h"

#include <algorithm>

namespace cw::appliance {
namespace {

// Reads are local and done when they are asked for; their ends are told by poll().
class TargetImage final : public recovery::Image {
public:
    static Result<std::unique_ptr<recovery::Image>> open(
        const volume::PointView::Options& options) {
        auto image = std::make_unique<TargetImage>();
        CW_TRY_ASSIGN(image->view_,
                      name_full_disk(volume::PointView::open(*image->disk_, options),
                                     options.work_directory, "who reads a target's point"));
        return image;
    }

    [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return view_->size_bytes(); }
    [[nodiscard]] std::vector<Extent> extents(std::uint64_t /*offset*/, std::uint64_t length,
                                              std::size_t /*count_max*/) const override {
        return {{length, false}};  // What a target holds is known by reading it.
    }
    void read_later(const std::vector<Wanted>& wanted,
                    std::function<void(Result<void>)> done) override {
        Result<void> result;
        for (const Wanted& one : wanted) {
            if (result) {
                result = read_sectors(one.offset, one.out);
            }
            ++requests_;
        }
        ended_.push_back({std::move(done), std::move(result)});
    }
    std::size_t poll() override {
        const std::vector<Ended> now = std::exchange(ended_, {});
        for (const Ended& one : now) {
            one.done(one.result);
        }
        return now.size();
    }
    void wait(std::int64_t /*timeout_ns*/) override {}  // Nothing is ever under way.
    [[nodiscard]] std::uint64_t fetched_bytes() const noexcept override { return 0; }
    [[nodiscard]] std::uint64_t requests() const noexcept override { return requests_; }

private:
    struct Ended {
        std::function<void(Result<void>)> done;
        Result<void> result;
    };

    // A device gives whole sectors only.
    Result<void> read_sectors(std::uint64_t offset, MutableBytes out) {
        const std::uint64_t begin = offset / sector_bytes * sector_bytes;
        const std::uint64_t end = align_up(offset + out.size(), sector_bytes);
        if (begin == offset && end == offset + out.size()) {
            return view_->read(offset, out);
        }
        ByteVector whole(end - begin);
        CW_TRY(view_->read(begin, whole));
        std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(offset - begin), out.size(),
                    out.begin());
        return {};
    }

    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::unique_ptr<volume::PointView> view_;
    std::vector<Ended> ended_;
    std::uint64_t requests_ = 0;
};

class TargetSource final : public recovery::PointSource {
public:
    TargetSource(std::vector<TargetOptions> targets, const FingerprintSecret& secret,
                 std::string reader)
        : targets_(std::move(targets)), secret_(secret), reader_(std::move(reader)) {}

    Result<std::unique_ptr<recovery::Image>> open(
        const recovery::PointDisk& at, const recovery::ReaderOptions& options) const override {
        CW_TRY_ASSIGN(const TargetOptions* const target, target_of(at.disk.disk));
        return TargetImage::open({.work_directory = target->work_directory,
                                  .target_path = target->path,
                                  .point = at.point->id,
                                  .reader = reader_ + "-" + std::to_string(++images_),
                                  .memory_bytes = options.memory_bytes});
    }

    Result<std::unique_ptr<recovery::PointDigests>> digests(
        const recovery::PointDisk& at, const recovery::ReaderOptions& options,
        const std::function<bool()>& /*cancelled*/) const override {
        CW_TRY_ASSIGN(auto image, open(at, options));
        return recovery::digests_by_reading(std::move(image), secret_);
    }

    // Both points are held meanwhile, and what leads from one to the other is kept with them.
    Result<Changes> changes(const recovery::PointDisk& from, const recovery::PointDisk& to,
                            const recovery::ReaderOptions& options) const override {
        CW_TRY_ASSIGN(const TargetOptions* const target, target_of(to.disk.disk));
        CW_TRY_ASSIGN(const auto held, open(from, options));
        Changes out;
        CW_TRY_ASSIGN(out.image, open(to, options));
        const auto disk = make_posix_disk();
        CW_TRY_ASSIGN(const auto ranges, volume::changes_between(*disk, target->work_directory,
                                                                 from.point->id, to.point->id));
        for (const volume::ChangedRange& range : ranges) {
            out.ranges.push_back({range.offset, range.length});
        }
        return out;
    }

private:
    Result<const TargetOptions*> target_of(const DiskId& wanted) const {
        const auto disk = make_posix_disk();
        for (const TargetOptions& target : targets_) {
            const auto state = volume::read_volume_state(*disk, target.work_directory + "/state");
            if (state && state->disk == wanted) {
                return &target;
            }
        }
        return fail(Errc::not_found, "no target holds disk " + to_string(wanted));
    }

    const std::vector<TargetOptions> targets_;
    const FingerprintSecret secret_;
    const std::string reader_;
    mutable unsigned images_ = 0;
};

}  // namespace

Result<std::unique_ptr<const recovery::PointSource>> open_target_source(
    const config::Settings& settings, SystemSeams& seams, const recovery::Catalog& catalog) {
    CW_TRY_ASSIGN(auto targets, target_options_of(settings, catalog.machine()));
    return std::make_unique<TargetSource>(
        std::move(targets), catalog.keys().fingerprint_secret,
        to_string(make_id<Uuid<struct ReaderTag>>(*seams.random)));
}

}  // namespace cw::appliance
