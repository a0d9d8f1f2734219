// QemuEpochs: recovery points of a virtual machine made of what changed since the last one.
//
// At a cut one QMP transaction starts new bitmaps, stops the old ones, and puts a copy-before-write
// view in front of every disk: one moment for all of them. Then the blocks that the old bitmaps
// name are read from the view and logged; when all are, the point is made. If an epoch fails, its
// bitmap is merged into the next one: nothing is lost, the next epoch is larger. An old bitmap goes
// when the agent's own dirty map, which survives a kill, has all of it.
//
// A point needs a still view: an epoch during which a fence was opened makes none, because a fence
// reads the live disk. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/hrl/hrl_output.h"
#include "agent/qemu/qemu_source.h"
#include "agent/stream/point_source.h"
#include "agent/stream/replicator.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

class QemuEpochs final : public PointSource {
public:
    struct Context {
        QemuSource& source;
        Replicator& replicator;
        std::vector<DiskCapture*> captures;  // In slot order.
        Clock& clock;
        std::string directory;  // For the overlays: what the guest overwrites during an epoch.
        std::vector<HrlOutput*> outputs;  // In slot order, or none.
    };
    explicit QemuEpochs(Context context) : context_(std::move(context)) {}

    bool begin(std::string tag) override { return begin_epoch(std::move(tag)); }
    // The guest was made still for the moment of this call. Whether it was is known later: until
    // settle() has said so the point is not made.
    bool begin_frozen(std::string tag);
    void settle(pipeline::PointKind kind, std::string hooks);
    [[nodiscard]] bool running() const noexcept override { return running_; }
    bool step() override;
    void stop() override;
    [[nodiscard]] bool resized() const noexcept override { return resized_; }
    [[nodiscard]] const std::optional<Result<PointId>>& outcome() const noexcept override {
        return outcome_;
    }

    // An epoch is not begun with less room than this for the overlays, or the disks' whole size:
    // if they cannot grow, QEMU 7.2 fails the guest's writes.
    static constexpr std::uint64_t free_bytes_min = 1 * gib;

private:
    struct View {
        std::optional<NbdReader> reader;
        BlockSet left;     // Not logged yet.
        BlockSet besides;  // For the output alone.
    };
    bool begin_epoch(std::string tag);
    Result<void> cut();
    Result<void> open_view(std::size_t slot);
    // Logs some of it. False: no room now.
    Result<bool> log_some();
    Result<void> check_sizes();
    Result<void> check_still();
    [[nodiscard]] Result<void> check_room() const;
    [[nodiscard]] std::uint64_t fences() const;
    Result<PointId> finish();
    void end(Result<PointId> outcome);
    bool end_outputs();
    Result<void> remove_views();

    Context context_;
    bool running_ = false;
    bool resized_ = false;
    bool unsettled_ = false;
    bool was_cut_ = false;  // Old bitmaps stand still, and must be settled or given back.
    pipeline::PointKind kind_{};
    std::string tag_, hooks_;
    WallMicros cut_time_{};
    std::int64_t cut_ns_ = 0;  // How long the transaction took: the guest did not write meanwhile.
    std::uint64_t fences_before_ = 0, logged_bytes_ = 0;
    std::vector<View> views_;
    ByteVector buffer_;
    std::optional<Result<PointId>> outcome_;
};

}  // namespace cw::agent
