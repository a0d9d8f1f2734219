// Checks a record's payload against its header: the table by the header's CRC, each extent of the
// data by the CRC its agent gave it. Pure functions.
#pragma once

#include "pipeline/record.h"

#include <span>

namespace cw::cache {

// Errors: record_corrupt.
Result<void> check_table(const pipeline::RecordHeader& header, Bytes table);
// `data` holds the record's data_bytes in pieces, every piece but the last of `piece_bytes`.
// Checks the table too. Errors: record_corrupt.
Result<void> check_payload(const pipeline::RecordHeader& header, Bytes table,
                           std::span<const Bytes> data, std::size_t piece_bytes);

}  // namespace cw::cache
