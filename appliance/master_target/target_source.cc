#include "appliance/master_target/target_source.h"

#include "appliance/control_client.h"
#include "egress/volume/point_view.h"

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

// Reads are local and done when they are asked for; their ends are told by poll().
class TargetImage final : public recovery::Image {
public:
    static Result<std::unique_ptr<recovery::Image>> open(
        const volume::PointView::Options& options) {
        auto image = std::make_unique<TargetImage>();
        CW_TRY_ASSIGN(image->view_, volume::PointView::open(*image->disk_, options));
        return image;
    }

    [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return view_->size_bytes(); }
    [[nodiscard]] std::vector<Extent> extents(std::uint64_t /*offset*/, std::uint64_t length,
                                              std::size_t /*count_max*/) const override {
        return {{length, false}};  // What a target holds is known by reading it.
    }
    void read_later(std::uint64_t offset, MutableBytes out,
                    std::function<void(Result<void>)> done) override {
        ended_.push_back({std::move(done), read_sectors(offset, out)});
        bytes_ += out.size();
        ++requests_;
    }
    std::size_t poll() override {
        const std::vector<Ended> now = std::exchange(ended_, {});
        for (const Ended& one : now) {
            one.done(one.result);
        }
        return now.size();
    }
    void wait(std::int64_t /*timeout_ns*/) override {}  // Nothing is ever under way.
    [[nodiscard]] std::uint64_t fetched_bytes() const noexcept override { return bytes_; }
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
        std::ranges::copy(Bytes(whole).subspan(offset - begin, out.size()), out.begin());
        return {};
    }

    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::unique_ptr<volume::PointView> view_;
    std::vector<Ended> ended_;
    std::uint64_t bytes_ = 0, requests_ = 0;
};

class TargetSource final : public PointSource {
public:
    TargetSource(std::vector<TargetOptions> targets, const std::string& state_directory,
                 std::string reader)
        : targets_(std::move(targets)),
          socket_(state_directory + "/control.sock"),
          reader_(std::move(reader)) {}

    Result<std::unique_ptr<recovery::Image>> open(
        const vault::PointEntry& point, const recovery::DiskAtPoint& disk,
        const recovery::ReaderOptions& options) const override {
        CW_TRY_ASSIGN(const TargetOptions* const target, target_of(disk.disk));
        return TargetImage::open({.work_directory = target->work_directory,
                                  .target_path = target->path,
                                  .point = point.id,
                                  .reader = reader_ + "-" + std::to_string(++images_),
                                  .memory_bytes = options.memory_bytes});
    }

    // Those that have become a point are targets again: what they hold now is compared with the
    // machine.
    Result<void> give_up_failover() const override {
        const auto disk = make_posix_disk();
        for (const TargetOptions& target : targets_) {
            const auto state = volume::read_volume_state(*disk, target.work_directory + "/state");
            if (!state && state.error().code == Errc::not_found) {
                continue;
            }
            CW_TRY(state);
            if (state->phase == volume::Phase::collecting) {
                continue;
            }
            const nlohmann::json order{{"machine", to_string(target.machine)},
                                       {"disk", target.disk}};
            CW_TRY(ControlClient{socket_}.post("target/cancel", order.dump()));
        }
        return {};
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
    const std::string socket_, reader_;
    mutable unsigned images_ = 0;
};

}  // namespace

std::unique_ptr<const PointSource> make_target_source(std::vector<TargetOptions> targets,
                                                      const std::string& state_directory,
                                                      std::string reader) {
    return std::make_unique<TargetSource>(std::move(targets), state_directory, std::move(reader));
}

}  // namespace cw::appliance
