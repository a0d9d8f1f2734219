// QemuSource: the disks of a running virtual machine, captured from outside: nothing is installed
// in the guest.
//
// Data mode: a write-blocking mirror brings every write, in the order in which the guest may depend
// on it, to our NBD front end; the guest never waits for the network, and if the agent dies the
// mirror ends and the guest goes on. Epoch mode: see qemu_epoch.h. In both, bitmaps in QEMU record
// what happens while nobody listens. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/qemu/qemu_image.h"
#include "agent/qemu/qemu_tracker.h"
#include "agent/stream/disk_capture.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

class QemuSource {
public:
    enum class Mode : std::uint8_t { data, epoch };
    struct Options {
        std::string qmp_socket;
        std::string nbd_socket;   // Where QEMU is to serve its disks; its directory is QEMU's too.
        bool nbd_served = false;  // It does so already.
        std::vector<std::string> wanted;  // Names of disks; empty: all.
        Mode mode = Mode::data;
    };
    enum class State : std::uint8_t {
        attached,
        gone,      // The machine ended. What came before it is whole: points can still be made.
        detached,  // The machine runs and we do not see its writes: start again.
    };

    // Connects, chooses disks, and serves them for reading. Errors: qmp_failed, not_found (a disk
    // by that name), source_gone.
    static Result<std::unique_ptr<QemuSource>> open(Options options, Clock& clock);
    ~QemuSource();

    [[nodiscard]] std::size_t disk_count() const noexcept { return disks_.size(); }
    [[nodiscard]] const std::string& disk_name(std::size_t slot) const;
    // The live disk for reading. `token` names its bitmaps.
    Result<std::unique_ptr<BlockImage>> image(std::size_t slot, const std::string& token);
    // The bitmaps of `token` cover the time since the agent's last run.
    [[nodiscard]] bool continuous(std::size_t slot, const std::string& token) const;

    // Captures are in slot order, after image() of each. `capture_socket`: our NBD front end with
    // the same names, listening; for the data mode. `provable`: by slot; what bitmaps recorded is
    // missed, or of no interest because everything is compared.
    Result<void> attach(const std::vector<DiskCapture*>& captures,
                        const std::string& capture_socket, const std::vector<bool>& provable);
    // The mirrors end; the disks can still be read. Bitmaps stay and record.
    void stop_capture();
    // For a planned stop of volumes, which nothing can pause: call the first before
    // stop_capture(), and the second tells what was written since, or since an epoch's cut.
    Result<void> watch_writers();
    Result<std::uint64_t> written_bytes();
    // Ends everything that we set up beside the bitmaps.
    void detach();

    // Gives the guest's disk another size. QEMU does that to nobody's disk that is captured: ends
    // in State::detached, whether it succeeded or not; bitmaps record meanwhile. Errors:
    // qmp_failed.
    Result<void> resize(std::size_t slot, std::uint64_t bytes);

    // True if something changed.
    bool step();
    // What was set up beside the machine cannot be relied on any more: attach anew.
    void distrust(const Error& why) { end(State::detached, to_string(why)); }
    [[nodiscard]] State state() const noexcept { return state_; }
    [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
    [[nodiscard]] int fd() const noexcept { return machine_ ? machine_->fd() : -1; }
    [[nodiscard]] QemuMachine& machine() noexcept { return *machine_; }
    [[nodiscard]] QemuTracker& tracker() noexcept { return *tracker_; }
    [[nodiscard]] const QemuDisk& vm_disk(std::size_t slot) const { return disks_.at(slot).vm; }
    [[nodiscard]] const Options& options() const noexcept { return options_; }

private:
    struct Disk {
        QemuDisk vm;
        std::string name, token;
        std::string job;  // Of the mirror; also its target node and our export of the live disk.
    };
    QemuSource(Options options, Clock& clock) : options_(std::move(options)), clock_(clock) {}
    Result<void> choose(std::vector<QemuDisk> found);
    void end(State state, std::string reason);
    void remove_exports();
    void look_for_machine();
    void take_event(const QmpEvent& event);

    const Options options_;
    Clock& clock_;
    std::unique_ptr<QemuMachine> machine_;
    std::unique_ptr<QemuTracker> tracker_;
    std::vector<Disk> disks_;
    State state_ = State::attached;
    std::string reason_;
    bool mirrored_ = false;
    Nanos rotate_at_{}, look_at_{};
};

}  // namespace cw::agent
