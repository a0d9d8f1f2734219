// StateFile: what the agent must remember across restarts, as one JSON file written atomically.
//
// Rules of continuity: a disk's history goes on only if its dirty map can be trusted, that is if
// the agent stopped cleanly, or if the machine has not been booted since (a kill does not lose what
// was handed to the kernel); and if the image is as the agent left it (image_witness.h), unless a
// scan finds what others wrote. Otherwise the disk's generation grows and the server compares or
// copies everything.
//
// Thread-safety: reserve() from any thread; everything takes one lock.
#pragma once

#include "agent/stream/disk_capture.h"
#include "base/disk.h"

#include <mutex>
#include <string>
#include <vector>

namespace cw::agent {

// Sequences [first, limit).
struct SeqRange {
    Seq first{}, limit{};
    friend bool operator==(const SeqRange&, const SeqRange&) = default;
};

struct DiskState {
    DiskId id;
    std::string name, path;
    std::uint64_t size_bytes = 0;
    Generation generation{};  // Low half 0: no history yet, or none that can be continued.
    Seq limit{1};             // No sequence at or above it was ever used.
    // Where the sequences lie that this agent used in this generation, ascending; the last ends at
    // `limit`. Empty: anywhere below `limit`.
    std::vector<SeqRange> own;
    // After a clean stop with an empty queue, else 0: the exact next sequence and the hash before
    // it.
    Seq next{};
    Sha256 stream_hash{};
    std::string image_print;  // BlockImage::fingerprint() at a clean stop.
};

// Whether a server may hold this disk up to `durable` by what this agent sent. If not, somebody
// else sent it under this identity: see own_sequences.h.
bool may_be_own(const DiskState& disk, Seq durable);

struct AgentState {
    std::uint64_t boot_counter = 0;  // Starts of the agent.
    std::string place;  // At the last start: of the kernel, and of this directory in it.
    bool clean = false;
    std::uint64_t witness_number = 0;
    Sha256 witness_hash{};
    std::vector<DiskState> disks;
};

class StateFile final : public SequenceReserve {
public:
    // Reads `directory`/agent.json, or starts empty. `disk` is used by whatever thread holds the
    // lock. Errors: config_invalid (damaged: by hand, or a disk error), format_unsupported (of a
    // newer agent), io_error.
    static Result<std::unique_ptr<StateFile>> open(Disk& disk, const std::string& directory);

    [[nodiscard]] AgentState get();
    // Changes the state and writes it durably.
    template <typename Change>
    Result<void> update(Change&& change) {
        const std::lock_guard lock(mutex_);
        change(state_);
        return write();
    }
    Result<Seq> reserve(std::uint16_t slot, Seq at_least) override;

    static constexpr std::uint64_t reserve_step = 1U << 20;
    static constexpr std::size_t own_ranges_max = 64;  // Beyond, the oldest is forgotten.

private:
    StateFile(Disk& disk, std::string path) : disk_(disk), path_(std::move(path)) {}
    Result<void> write();

    Disk& disk_;
    const std::string path_;
    std::mutex mutex_;
    AgentState state_;
};

}  // namespace cw::agent
