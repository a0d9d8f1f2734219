// Agent: one running mobility agent — the disks, their source, the replicator, the control socket —
// and the loop that drives them.
//
// Thread-safety: run() on one thread; stop() from anywhere, also a signal handler.
#pragma once

#include "agent/control_socket.h"
#include "agent/group/group_port.h"
#include "agent/hrl/hrl_output.h"
#include "agent/hrl/hrl_source.h"
#include "agent/nbd/nbd_server.h"
#include "agent/qemu/guest_freeze.h"
#include "agent/qemu/qemu_epochs.h"
#include "agent/qemu/qemu_source.h"
#include "agent/scan/host_freeze.h"
#include "agent/scan/scan_source.h"
#include "agent/session/tls_link.h"
#include "agent/stream/replicator.h"
#include "agent/stream/spiller.h"
#include "pipeline/stage.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

struct AgentOptions {
    TlsTarget target;
    std::string state_directory;
    std::string machine_name;
    struct Disk {
        std::string name, path;
    };
    std::vector<Disk> disks;
    std::string qmp_socket;  // The disks are a virtual machine's; `disks` is empty then.
    std::vector<std::string> qemu_disks;  // Which of them; empty: all.
    QemuSource::Mode qemu_mode = QemuSource::Mode::data;
    std::string qemu_nbd;  // Where QEMU serves NBD already; empty: it is told to, in the state.
    std::string guest_agent_socket;  // Empty: points are crash-consistent.
    // Between points, and between those of a frozen guest (0: when asked for), as a person ordered.
    // None: as the server says; while it says nothing, 5 s and 1 h.
    std::optional<std::int64_t> interval_ns, app_interval_ns;
    std::int64_t linger_ns = 20 * ns_per_ms;
    std::uint64_t memory_bytes = 128 * mib;
    std::uint64_t spool_bytes = 0;        // 0: no disk spool.
    std::size_t ranges_max = 65'536;      // Noted in mode METADATA, of all disks together.
    std::string guard_program;            // What NbdGuard starts; empty: no guard.
    std::string nbd_socket;               // At most one of these two:
    std::optional<HostPort> nbd_address;  // without either the disks are scanned.
    Freezer::Options freeze;
    bool app_hooks = false;
    // LVM snapshots of what is scanned: where there are any, or nothing else makes a point.
    enum class Snapshots : std::uint8_t { off, automatic, always } snapshots = Snapshots::automatic;
    std::string snapshot_size = "10%";  // Of the disk, or bytes.
    std::string lvm_tools;              // Their directory; empty: the system's.
    bool hints = false;  // Scans of devices are narrowed where the kernel tells what was written.
    std::int64_t full_scan_every_ns = 3600 * ns_per_s;
    std::string hrl_directory;  // Replica logs that arrive there are applied to the one image.
    std::optional<HrlId> hrl_after;
    std::string hrl_output;              // With epochs: a directory that gets their replica logs.
    std::uint64_t hrl_output_bytes = 0;  // What it holds at most for each disk.
    GroupOptions group;
    std::int64_t group_interval_ns = 0;  // Between group points; 0: when asked for.
};

class Agent final : private GroupSource {
public:
    // What may be looked at from outside, for the progress line.
    using Observer = std::function<void(const Replicator::Status&)>;

    // Errors: what is wrong with options, certificates, state directory or disks.
    static Result<std::unique_ptr<Agent>> create(AgentOptions options, Clock& clock,
                                                 Random& random);
    ~Agent() override;

    // Until stopped. `observe` runs about twice a second. Errors: io_error (state directory).
    Result<void> run(const Observer& observe);
    void stop() noexcept;
    // run() ended because the source must be attached to again: make a new agent.
    [[nodiscard]] bool wants_restart() const noexcept { return wants_restart_; }

private:
    struct Waiter {  // A control client that waits for a point.
        std::uint64_t client = 0;
        std::optional<PointId> point;  // Not made yet: the next scan makes it.
        PointPhase until{};
        Nanos deadline{};
        bool frozen = false;  // Of a guest that is frozen first.
        bool group = false;   // Of all machines of the group.
        std::string tag = {};
        // The disks could not be held at one moment: it is tried again then, and this is why.
        Nanos again{};
        std::optional<Error> held = {};
    };
    Agent(AgentOptions options, Clock& clock, Random& random);

    // agent_start.cc
    Result<void> start();
    Result<void> open_disk(std::size_t slot, AgentState& state, const std::string& place,
                           std::vector<ScanSource::Disk>& scanned);
    struct Opened {  // What a disk is read from, and whether its history can be gone on with.
        std::unique_ptr<BlockImage> image;
        bool provable = false;
    };
    Result<Opened> open_source(std::size_t slot, const DiskState& known, const AgentState& state,
                               const std::string& place);
    Result<void> open_machine();
    Result<void> open_sources(std::vector<ScanSource::Disk> scanned);
    Result<std::unique_ptr<VolumeSnapshots>> open_snapshots();
    void open_hints(std::vector<ScanSource::Disk>& disks);
    Result<void> open_nbd(const std::string& socket);
    Result<void> check_options() const;
    Result<void> check_options_of_disks() const;
    Result<void> check_freeze() const;
    Result<void> check_mount();
    Result<void> open_hrl();
    // agent_hrl.cc
    Result<void> open_hrl_outputs(const std::vector<bool>& provable);
    Result<std::vector<HrlOutput*>> told_hrl_outputs(const std::vector<bool>& provable);
    // agent_start.cc
    Result<void> attach_machine(const std::vector<bool>& provable);
    // Nobody writes through us: the disks are compared.
    [[nodiscard]] bool scans() const noexcept {
        return options_.qmp_socket.empty() && options_.nbd_socket.empty() &&
               !options_.nbd_address && options_.hrl_directory.empty();
    }
    // agent.cc
    bool round();
    void park(bool busy);
    void tend_points();
    [[nodiscard]] std::int64_t interval_ns() const;
    [[nodiscard]] std::int64_t app_interval_ns() const;
    // When a point is made next by itself.
    [[nodiscard]] Nanos next_point() const {
        return std::max(last_point_ + interval_ns(), not_before_);
    }
    void tend_waiters();
    void tend_stop();
    void tend_machine();
    void quiet_source(bool planned);
    std::optional<Error> still_written();
    void resume_guest();
    [[nodiscard]] std::string_view source_name() const noexcept;
    // agent_resize.cc
    void tend_sizes();
    Result<void> resize(const std::string& disk, std::uint64_t bytes, bool shrink);
    Result<void> leave_state();
    // agent_control.cc
    void control(std::uint64_t client, const std::string& line);
    struct PointRequest {
        std::string tag;
        PointPhase until{};
        std::int64_t timeout_ms = 0;
        bool frozen = false, group = false;
    };
    void control_point(std::uint64_t client, const PointRequest& request);
    // The point of a waiter that has none yet. False: it was answered with a refusal.
    bool find_point(Waiter& waiter);
    Result<void> make_crash_point(Waiter& waiter);
    // agent_freeze.cc
    void open_freeze();
    void tend_freeze();
    void cut_frozen();
    void settle_frozen(const Result<void>& proof);
    [[nodiscard]] std::string why_not_frozen();
    std::string status_json();
    // agent_group.cc
    Result<void> open_group();
    void tend_group();
    Result<void> begin_group(const std::string& tag);
    Result<PointId> hold(const GroupId& barrier, const std::string& tag, Nanos until) override;
    bool let_go() override { return gate_.open(); }
    void decide(const PointId& point, const GroupId& barrier, bool committed) override {
        replicator_->decide_point(point, barrier, committed);
    }

    AgentOptions options_;
    Clock& clock_;
    Random& random_;
    MachineId machine_;
    AdmissionGate gate_{clock_};
    // In the order of dependence: later ones use earlier ones.
    std::unique_ptr<cw::Disk> disk_;
    std::vector<std::unique_ptr<cw::Disk>> map_disks_;  // One per lock that guards its use.
    std::unique_ptr<cw::Disk> state_disk_;
    std::unique_ptr<cw::File> state_lock_;
    std::unique_ptr<StateFile> state_;
    std::unique_ptr<pipeline::SlabPool> pool_, base_pool_;
    std::unique_ptr<Outbox> outbox_;
    std::unique_ptr<Spiller> spiller_;  // None without --spool-size.
    std::vector<std::unique_ptr<BlockImage>> images_;
    std::vector<std::unique_ptr<DiskCapture>> captures_;
    pipeline::Doorbell doorbell_;
    std::unique_ptr<Connector> connector_;
    std::unique_ptr<Replicator> replicator_;
    std::unique_ptr<Freezer> freezer_;
    std::vector<std::unique_ptr<HrlOutput>> hrl_outputs_;  // By slot, or none.
    std::unique_ptr<PointSource> scan_;
    std::unique_ptr<HrlSource> hrl_;
    std::unique_ptr<QemuSource> qemu_;
    QemuEpochs* epochs_ = nullptr;          // scan_, if it is that.
    ScanSource* scanner_ = nullptr;         // The same.
    std::unique_ptr<SourceFreeze> freeze_;  // For points of what sees every write, and epochs.
    std::unique_ptr<GroupPort> group_;
    std::unique_ptr<NbdServer> nbd_;
    std::unique_ptr<ControlServer> control_;

    std::vector<Waiter> waiters_;
    std::optional<std::uint64_t> stop_client_;
    std::string scan_tag_, frozen_tag_;
    bool frozen_wanted_ = false;
    bool unsettled_ = false;  // A cut was made, and what its point is called is not known yet.
    std::optional<Error> frozen_trouble_;  // Why the last frozen cut was not made.
    Nanos last_frozen_{}, thawed_{}, next_group_{};
    bool scan_wanted_ = false;
    bool wants_restart_ = false;
    bool guest_paused_ = false;
    Nanos last_point_{}, not_before_{}, look_at_sizes_{};
    std::vector<std::uint64_t> sizes_seen_;  // At the last look, by slot.
    std::atomic<int> stop_asked_{0};         // 1: stop, 2: with a final point
    enum class Stopping { no, final_point, goodbye } stopping_ = Stopping::no;
    Nanos stop_deadline_{};
    std::optional<PointId> final_point_;
    std::optional<Error> stop_trouble_;
};

}  // namespace cw::agent
