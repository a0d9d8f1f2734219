// QemuMachine: a running virtual machine seen through QEMU's monitor: its disks, and the block
// jobs, exports and bitmaps that the agent sets up beside them. A storage daemon is one without a
// guest: the volumes that it exports are its disks.
//
// Everything the agent adds to the machine has a name that begins with "causeway-", so that what a
// killed agent left behind is found and removed. Thread-safety: none.
#pragma once

#include "agent/qemu/qmp_client.h"
#include "agent/scan/block_set.h"

#include <string>
#include <vector>

namespace cw::agent {

inline constexpr std::string_view qemu_prefix = "causeway-";

struct QemuBitmap {
    std::string name;
    bool recording = false;
    bool inconsistent = false;  // QEMU died while it was in use: it says nothing.
    std::uint64_t dirty_bytes = 0;
};

struct QemuDisk {
    std::string name;    // The guest device's id where there is one: survives snapshots. Of a
                         // storage daemon the export's id.
    std::string node;    // Of the block graph, top of the disk.
    std::string format;  // "raw", "qcow2", …
    std::uint64_t size_bytes = 0;
    std::vector<std::string> aliases;  // Other names a person may call it by.
    std::vector<QemuBitmap> bitmaps;
};

// The actions of one QMP transaction: all happen at one moment, or none.
class QemuTransaction {
public:
    void add_bitmap(const QemuDisk& disk, const std::string& name, bool recording);
    void remove_bitmap(const QemuDisk& disk, const std::string& name);
    void stop_bitmap(const QemuDisk& disk, const std::string& name);
    void merge_bitmap(const QemuDisk& disk, const std::string& from, const std::string& into);
    // Point-in-time view of `disk`, kept in node `target` while `job` runs.
    void fleece(const QemuDisk& disk, const std::string& target, const std::string& job);
    [[nodiscard]] bool empty() const noexcept { return actions_.empty(); }
    [[nodiscard]] std::string arguments() const { return R"({"actions":[)" + actions_ + "]}"; }

private:
    void add(std::string_view type, const std::string& data);
    std::string actions_;
};

class QemuMachine {
public:
    // Errors of all methods: qmp_failed, with the command and QEMU's words.
    static Result<std::unique_ptr<QemuMachine>> connect(const std::string& qmp_socket,
                                                        Clock& clock);

    // Writable disks of the guest, or of a storage daemon its writable exports that are not ours,
    // in QEMU's order.
    Result<std::vector<QemuDisk>> disks();
    // False: a storage daemon, which nothing can pause. Known after disks().
    [[nodiscard]] bool has_guest() const noexcept { return has_guest_; }
    // Ends and removes jobs, exports and nodes whose names begin with `prefix`; bitmaps stay.
    Result<void> clean(std::string_view prefix = qemu_prefix);

    Result<void> run(const QemuTransaction& transaction);

    // Serves exports at `socket`; it may be served already by an earlier call, or, as `served`
    // says, by somebody else's wish.
    Result<void> serve_nbd(const std::string& socket, bool served);
    // `bitmap`: one that does not record. Empty: none.
    Result<void> add_export(const std::string& name, const std::string& node,
                            const std::string& bitmap);
    Result<void> remove_export(const std::string& name);
    // Which blocks a bitmap that does not record names.
    Result<BlockSet> read_bitmap(const QemuDisk& disk, const std::string& bitmap);

    // Every write of the guest goes also to `nbd_export` at `nbd_socket`, before it completes. If
    // that fails the job ends and the guest goes on.
    Result<void> mirror(const QemuDisk& disk, const std::string& job, const std::string& nbd_socket,
                        const std::string& nbd_export);
    // Also waits until it is gone. `at_once`: without bringing anything to an end.
    Result<void> end_job(const std::string& job, bool at_once);
    Result<std::vector<std::string>> job_names();
    // An empty qcow2 file in front of `disk`, as node `name`.
    Result<void> add_overlay(const QemuDisk& disk, const std::string& name,
                             const std::string& path);
    Result<void> remove_node(const std::string& name);

    // The guest is told. QEMU refuses while a mirror or an export holds the disk.
    Result<void> resize(const QemuDisk& disk, std::uint64_t bytes);

    Result<void> pause_guest();
    Result<void> continue_guest();

    // Reads what has come. Errors: qmp_failed: the monitor is gone.
    Result<void> pump() { return client_->pump(0); }
    std::optional<QmpEvent> next_event() { return client_->next_event(); }
    [[nodiscard]] int fd() const noexcept { return client_->fd(); }
    [[nodiscard]] const std::string& nbd_socket() const noexcept { return nbd_socket_; }

private:
    QemuMachine(std::unique_ptr<QmpClient> client, Clock& clock)
        : client_(std::move(client)), clock_(clock) {}
    Result<void> ask(std::string_view command, const std::string& arguments);
    Result<std::vector<std::string>> export_names();
    // Polls until `list` no longer has `name`.
    Result<void> wait_gone(Result<std::vector<std::string>> (QemuMachine::*list)(),
                           const std::string& name);
    Result<void> create_file(const std::string& job, const std::string& options);

    std::unique_ptr<QmpClient> client_;
    Clock& clock_;
    std::string nbd_socket_;
    bool has_guest_ = true;
};

// The bitmaps whose names begin so are ours; `token` tells one agent's state from another's.
std::string qemu_bitmap_prefix(const std::string& token);

}  // namespace cw::agent
