// HrlOutput: what became of one disk from epoch to epoch, as replica logs in a directory.
//
// Each log continues the one before, over restarts of the agent too. The first continues none and
// holds the whole disk but its zeros: it is applied to an image of zeros. An epoch without a point
// leaves no log; an epoch whose log cannot be written (no room, an error) leaves its blocks to the
// next one, so the chain has no hole. What may have changed unseen makes the next log hold the
// whole disk. An error here is never the epoch's.
//
// Passive. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/hrl/hrl_file.h"
#include "agent/scan/block_set.h"
#include "base/random.h"

#include <memory>
#include <optional>
#include <string>

namespace cw::agent {

class HrlOutput {
public:
    struct Options {
        std::string directory;   // This disk's alone. Made if it is not there.
        std::string state_path;  // The last log and its place, and the disk's size.
        std::uint64_t disk_bytes = 0;
        std::uint64_t bytes_max = 0;  // Of all logs in the directory together.
    };
    struct Context {  // All outlive the output.
        Disk& disk;
        Clock& clock;
        Random& random;
    };
    // Errors: record_corrupt (the state), io_error.
    static Result<std::unique_ptr<HrlOutput>> open(Options options, Context context);

    // Since the last epoch, outside of any: nothing but these blocks; or nobody knows what.
    // Errors: io_error (it could not be noted; the next epoch's log has them all the same).
    Result<void> changed(const BlockSet& blocks);
    Result<void> changed_unseen();
    // Something may change that only this process will be told of: should it be killed before the
    // next epoch, nobody knows what. Errors: io_error.
    Result<void> expect_changes() { return behind_ ? Result<void>{} : store(last_, true); }

    // An epoch that holds `dirty` was cut at `time`. Returns what has to be given to write()
    // besides `dirty`.
    BlockSet begin(const BlockSet& dirty, WallMicros time);
    // Content of blocks, as of the cut; each once, whole blocks up to the end of the disk.
    void write(std::uint64_t offset, Bytes data);
    // The epoch has its point. False: that its blocks are not in a log could not be noted; they
    // must come again in the next epoch.
    [[nodiscard]] bool commit();
    // It has none.
    void abandon();

    // Why there is no log of the last epoch. Errors: out_of_budget, io_error.
    [[nodiscard]] const std::optional<Error>& trouble() const noexcept { return trouble_; }
    [[nodiscard]] const HrlId& last() const noexcept { return last_; }

private:
    HrlOutput(Options options, Context context) : options_(std::move(options)), context_(context) {}
    Result<void> load();
    Result<void> store(const HrlId& last, bool behind);
    Result<void> settle_part();
    Result<void> check_room(std::uint64_t wanted) const;
    Result<void> start_log();
    Result<void> finish_log();
    void give_up(const Error& error);
    [[nodiscard]] std::string part() const { return options_.directory + "/epoch.part"; }
    [[nodiscard]] std::string path_of(const HrlHeader& header) const;

    const Options options_;
    Context context_;
    HrlId last_{};
    std::uint64_t place_ = 0;  // Of the last log, counted over all chains here.
    bool behind_ = true;       // As stored: the last log is not all that an earlier run knew.
    bool unsure_ = false;      // Storing it failed: what is stored may be either.
    BlockSet pending_;         // Changed since the last log, and in no bitmap.
    BlockSet wanted_;          // Of this epoch's log.
    WallMicros time_{};
    HrlHeader header_;
    std::optional<HrlFile> log_;
    std::optional<Error> trouble_;
};

}  // namespace cw::agent
