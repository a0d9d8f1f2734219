// What the data path cannot avoid, each measured alone on the same data in the same run: their sum
// is the limit that a server's CPU use is compared with.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "pipeline/compressor.h"

#include <string>

namespace cw::bench {

// CPU-seconds per GiB: of source data, except those named `stored`, per GiB of stored bytes.
struct Primitives {
    double tls_receive = 0;
    double crc32c = 0;
    double zero_scan = 0;
    double fingerprint = 0;
    double spool_write = 0;
    double compress = 0;
    double decompress = 0;
    double compare = 0;
    double stored_fraction = 0;
    double stored_seal = 0;
    double stored_open = 0;
    double stored_crc64 = 0;
    double stored_tls_send = 0;
    double dsync_p99_ms = 0;  // Of the spool writes: wall time, four in flight.

    // CRC, zero scan, fingerprint, compress, seal, CRC-64; with verification open, decompress,
    // compare.
    [[nodiscard]] double transform_limit(bool verify) const noexcept;
    // That, and TLS in, CRC on receipt, spool write and TLS out.
    [[nodiscard]] double server_limit(bool verify) const noexcept;
};

// On `data` (a multiple of 1 MiB), in chunks of 1 MiB as in design: every chunk goes through the
// codec, whatever it holds.
void measure_transform(Primitives& out, Bytes data, const pipeline::CodecChoice& codec);
// Two threads over loopback, TLS 1.3 AES-256-GCM, 256 KiB per send, certificates made in
// `directory`.
Result<void> measure_tls(Primitives& out, Bytes data, const std::string& directory);
// 1 MiB O_DIRECT writes with RWF_DSYNC into a pre-written file in `directory`.
Result<void> measure_spool(Primitives& out, Bytes data, const std::string& directory);

}  // namespace cw::bench
