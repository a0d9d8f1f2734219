// SimStorage and SimDisk: a simulated disk with a volatile cache, for crash tests and the
// simulator.
//
// SimStorage is the device and its file system; it survives kill() and power_cut(). A SimDisk is
// one process's submission context on it (base/disk.h). All randomness comes from one seed: same
// calls, same outcome. What it models: unsynced sectors that power loss keeps, loses or tears;
// phantom sectors after a failed sync; lost, misdirected and flipped writes; EIO, also of chosen
// sectors; ENOSPC; directory entries that need their own sync; completions that are late and in any
// order; slow syncs. Thread-safety: none.
#pragma once

#include "base/clock.h"
#include "base/disk.h"
#include "tests/fakes/sim_image.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cw::fakes {

// Rates are per 10,000 operations of their kind. All zero: a perfect, fast disk.
struct FaultPlan {
    std::uint32_t write_error = 0;        // EIO; a random part of it lands.
    std::uint32_t write_lost = 0;         // Reported done, never there.
    std::uint32_t write_misdirected = 0;  // Lands elsewhere in the same file.
    std::uint32_t write_flipped = 0;      // One bit differs on the platter.
    std::uint32_t sync_error = 0;         // EIO; a random part persists, the rest become phantoms.
    std::uint32_t read_error = 0;
    std::uint32_t read_weak = 0;        // EIO; at the second or third attempt it succeeds.
    std::uint32_t metadata_error = 0;   // open, rename, remove, sync_directory, resize.
    std::uint32_t delay_polls_max = 0;  // A completion waits for 0 … that many polls.
    std::int64_t durable_delay_ns = 0;  // Syncs and durable writes take that long by the clock.
    std::uint64_t capacity_bytes = UINT64_MAX;  // Above: ENOSPC.
    // Devices that lie in one way only: what they report synced (or written durably) is not.
    bool sync_ignored = false, durable_ignored = false;
    // What blocks held before is remembered, for lose_write().
    bool earlier_kept = false;
    // Only faults on files whose path contains this, so that a test damages what it means to.
    std::string only_path;
};

struct FaultCounts {
    std::uint64_t write_error = 0, write_lost = 0, write_misdirected = 0, write_flipped = 0;
    std::uint64_t sync_error = 0, read_error = 0, no_space = 0, torn_cuts = 0;
    std::uint64_t read_weak = 0, metadata_error = 0;
};

// A write that was reported done and is not there as it was asked for.
struct AstrayWrite {
    std::string path;
    std::uint64_t offset = 0;  // Where it should be.
    ByteVector head;           // Its first block.
    std::uint64_t landed = 0;  // Where it went instead, if it did.
    ByteVector hit;            // What lay there.
};

class SimDisk;

class SimStorage {
public:
    // `clock` only for durable_delay_ns; may be null. It outlives the storage.
    explicit SimStorage(std::uint64_t seed, FaultPlan plan = {}, Clock* clock = nullptr);
    ~SimStorage();

    // A new process's view. The storage outlives it.
    std::unique_ptr<SimDisk> make_disk();
    [[nodiscard]] FaultPlan& plan() noexcept { return plan_; }
    [[nodiscard]] const FaultCounts& counts() const noexcept { return counts_; }

    // kill -9 of every process: what was in flight lands or not; the cache stays, and stays dirty.
    // Disks made before are dead: their operations never complete.
    void kill();
    // kill(), and then the power goes: only what was synced is sure.
    void power_cut();
    // Whoever works here is struck while he does: the `changes`-th write, sync or change of a name
    // that begins from now on is the last. From then on nothing completes and no name changes; who
    // blocks on it meets EIO. kill() or power_cut() is to follow, and decides what has landed.
    void strike_at(std::uint64_t changes) noexcept { changes_left_ = changes; }
    [[nodiscard]] bool struck() const noexcept { return struck_; }
    // Something is on its way to the device, or is not yet safe on it.
    [[nodiscard]] bool at_work() const;
    // `copy`, which is new, gets the same content, on the platter and off it; what is in flight
    // has not landed there. Its plan and its chance are its own.
    void copy_to(SimStorage& copy) const;

    // For tests that damage on purpose. The file must exist.
    void flip_bit(const std::string& path, std::uint64_t offset, unsigned bit);
    void overwrite(const std::string& path, std::uint64_t offset, Bytes bytes);
    ByteVector contents(const std::string& path);
    // A part of it, and where there is anything but zeros: offsets of blocks, ascending.
    ByteVector contents(const std::string& path, std::uint64_t offset, std::uint64_t length);
    // Of that only what is on the platter for certain: nothing unsynced, no phantoms.
    ByteVector durable_contents(const std::string& path, std::uint64_t offset,
                                std::uint64_t length);
    [[nodiscard]] std::vector<std::uint64_t> written_blocks(const std::string& path) const;
    [[nodiscard]] std::uint64_t size_of(const std::string& path) const;
    void erase(const std::string& path);
    // A write that was reported done was not: its blocks hold what they held before. With a plan of
    // `earlier_kept` since the file was made.
    void lose_write(const std::string& path, std::uint64_t offset, std::uint64_t length);
    // Since they were last taken.
    [[nodiscard]] const std::vector<AstrayWrite>& astray() const noexcept { return astray_; }
    std::vector<AstrayWrite> take_astray() { return std::exchange(astray_, {}); }
    // Reads that touch [offset, offset + length) fail with EIO, the next `times` of them; until
    // something is written there, which is how a drive heals a bad sector.
    void fail_reads(const std::string& path, std::uint64_t offset, std::uint64_t length,
                    std::uint64_t times = UINT64_MAX);
    // Bytes that cannot be read now.
    [[nodiscard]] std::uint64_t unreadable_bytes(const std::string& path) const;
    // However often it is tried again, until something is written there.
    [[nodiscard]] bool unreadable_for_good(const std::string& path, std::uint64_t offset,
                                           std::uint64_t length) const;
    [[nodiscard]] bool exists(const std::string& path) const { return names_.contains(path); }
    [[nodiscard]] std::size_t dirty_sectors(const std::string& path);

private:
    friend class SimDisk;
    struct NameChange {  // Not yet on the platter.
        std::string directory, path;
        std::shared_ptr<SimImage> image;  // Null: the name goes away.
        std::string renamed_from;
    };
    bool hit(std::uint32_t rate, const std::string& path);
    // A change begins. True if this one is too late.
    bool begin_change() noexcept;
    bool refuses_change(const std::string& path);  // Of a name or a size.
    AstrayWrite& note_astray(const std::string& path, std::uint64_t offset, Bytes bytes);
    void weaken(const std::string& path, std::uint64_t offset, std::uint64_t length);
    bool refuse_read(const std::string& path, std::uint64_t offset, std::uint64_t length);
    void heal(const std::string& path, std::uint64_t offset, std::uint64_t length);
    [[nodiscard]] std::uint64_t used_bytes() const;
    void record_change(NameChange change);
    static void apply_change(const NameChange& change,
                             std::map<std::string, std::shared_ptr<SimImage>>& names);

    FaultPlan plan_;
    Clock* clock_;
    std::unique_ptr<Random> random_;
    FaultCounts counts_;
    std::map<std::string, std::shared_ptr<SimImage>> names_, durable_names_;
    std::set<std::string> directories_{"/", ".", ""};
    std::vector<NameChange> unsynced_names_;
    std::map<std::string, std::map<std::uint64_t, std::uint64_t>> bad_blocks_;  // Failures left.
    std::vector<SimDisk*> disks_;
    std::vector<AstrayWrite> astray_;
    unsigned reads_spared_ = 0;       // Attempts after a weak one.
    std::uint64_t changes_left_ = 0;  // 0: it is not settled that anybody is struck.
    bool struck_ = false;
};

class SimDisk final : public Disk {
public:
    ~SimDisk() override;
    Result<std::unique_ptr<File>> open(const std::string& path, OpenOptions options) override;
    Result<void> create_directories(const std::string& path) override;
    Result<void> rename(const std::string& from, const std::string& to) override;
    Result<void> remove(const std::string& path) override;
    Result<std::vector<std::string>> list(const std::string& directory) override;
    Result<void> sync_directory(const std::string& directory) override;
    Result<bool> exists(const std::string& path) override;
    Result<void> resize(File& file, std::uint64_t bytes, bool allocate) override;
    Result<std::uint64_t> free_bytes(const std::string& directory) override;
    void start(DiskRequest& request) override;
    std::size_t poll() override;
    void wait(std::int64_t timeout_ns) override;
    [[nodiscard]] std::size_t in_flight() const noexcept override { return queue_.size(); }
    // True after a kill or power cut: the process that used it is gone.
    [[nodiscard]] bool dead() const noexcept { return dead_; }

private:
    friend class SimStorage;
    struct Pending {
        DiskRequest* request;
        std::uint64_t due_poll;
        Nanos due;
        bool too_late = false;  // It began after the strike: nothing of it lands.
    };
    explicit SimDisk(SimStorage& storage) : storage_(storage) {}
    void die();
    void land_some();  // What is in flight lands wholly, partly or not at all.
    void perform(DiskRequest& request);
    void perform_write(DiskRequest& request);
    void perform_sync(DiskRequest& request);
    void perform_read(DiskRequest& request);
    void write_faulty(DiskRequest& request, Bytes bytes);
    [[nodiscard]] bool ready(const Pending& pending) const;
    std::unexpected<Error> injected(const std::string& what, const std::string& path);

    SimStorage& storage_;
    std::vector<Pending> queue_;
    std::uint64_t polls_ = 0;
    bool dead_ = false, awaited_ = false;  // The second: somebody blocks, and nothing will come.
};

}  // namespace cw::fakes
