// What the spool's tests share: records whose content follows from their key and sequence, a spool
// on a simulated disk, and a model of what it has promised.
#pragma once

#include "base/checksum.h"
#include "base/log.h"
#include "cache/spool.h"
#include "pipeline/extent_table.h"
#include "tests/fakes/sim_disk.h"

#include <deque>
#include <map>
#include <set>

namespace cw::cache::testing {

inline constexpr std::uint64_t region_bytes = 256 * kib;
inline constexpr const char* directory = "/spool";

pipeline::SlabPool& slabs();  // Shared by all tests of this program.

StreamKey make_key(std::uint8_t machine, std::uint8_t disk, std::uint64_t generation = 1);
// One extent of `blocks` blocks with content that follows from key, sequence and ordinal.
Record make_write(const StreamKey& key, Seq seq, std::uint32_t blocks);
Record make_base(const StreamKey& key, Seq fence, std::uint32_t ordinal, std::uint32_t blocks);
// A record without data: resync_begin, resync_end, flush, resize.
Record make_control(const StreamKey& key, RecordType type, Seq seq);
// The record's payload, and the size of its disk, is what make_write or make_base gave it.
bool payload_is_genuine(const Record& record);

SpoolOptions small_options(std::uint32_t regions = 16);

// One process: a disk context, a spool and a reader on one storage. Destroy it after a crash.
class Process {
public:
    Process(fakes::SimStorage& storage, ManualClock& clock, Random& random, SpoolOptions options);
    ~Process();
    // Why the spool did not open, if so.
    std::optional<Error> refused;
    std::unique_ptr<fakes::SimDisk> disk, reader_disk;
    std::unique_ptr<Conditions> conditions;
    std::unique_ptr<MetricRegistry> metrics;
    std::unique_ptr<Spool> spool;
    std::unique_ptr<SpoolReader> reader;

    std::vector<StoredRecord> recovered();
    // Steps until nothing is unsynced, or `steps_max` steps. Returns what became durable.
    std::vector<StoredRecord> settle(int steps_max = 1000);
    // Reads the payload of a record back. `record` has its header.
    Result<void> read_back(Lsn lsn, Record& record);
};

}  // namespace cw::cache::testing
