// QuarantineFile: which disks are refused for contradicting themselves, over a restart of the
// server.
//
// A text file in the server's state directory, one line per disk:
//   <machine uuid> <disk uuid> <generation> <why>
// Whoever assembles the server loads it before the door opens and stores it every second or so. A
// quarantine that was younger when the server died is forgotten: the content that came first is
// safe all the same, only the warning is lost. Thread-safety: none; one thread. The table is its
// own.
#pragma once

#include "base/disk.h"
#include "ingest/session_table.h"

#include <string>
#include <vector>

namespace cw::ingest {

class QuarantineFile {
public:
    explicit QuarantineFile(std::string path) : path_(std::move(path)) {}
    // Tells `table` what the file holds; a missing file holds nothing. Errors: config_invalid (a
    // damaged line), io_error.
    Result<void> load(Disk& disk, SessionTable& table);
    // Makes what `table` says durable, if it is not what the file says already. Errors: io_error.
    Result<void> store(Disk& disk, const SessionTable& table);

private:
    std::string path_;
    std::vector<SessionTable::Quarantine> stored_;
};

}  // namespace cw::ingest
