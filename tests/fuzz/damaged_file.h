// A valid file on a simulated disk, damaged as an input says: recovery code is reached with small
// inputs, and past its checksums.
#pragma once

#include "base/assert.h"
#include "base/checksum.h"
#include "tests/fakes/sim_disk.h"

#include <algorithm>
#include <functional>

namespace cw::fuzz {

// Makes checksums right again after a patch at this offset.
using Repair = std::function<void(ByteVector& file, std::size_t at)>;

// u32 CRC-32C of the rest of each block, at its start.
inline void repair_block(ByteVector& file, std::size_t at) {
    const MutableBytes block = MutableBytes(file).subspan(at / block_bytes * block_bytes);
    if (block.size() >= block_bytes) {
        ByteWriter(block).u32(crc32c(Bytes(block).subspan(4, block_bytes - 4)));
    }
}

// The same, of the whole file.
inline void repair_file(ByteVector& file, std::size_t /*at*/) {
    if (file.size() >= 4) {
        ByteWriter(file).u32(crc32c(Bytes(file).subspan(4)));
    }
}

// Patches: u16 offset, u8 (low bits: length, up to 63; 0x40: cut the file here; 0x80: repair),
// bytes.
inline ByteVector damaged(ByteVector file, ByteReader& in, const Repair& repair) {
    while (in.remaining() >= 3 && !file.empty()) {
        const std::size_t at = *in.u16() % file.size();
        const std::uint8_t control = *in.u8();
        const Bytes piece = *in.take(std::min<std::size_t>(control & 0x3f, in.remaining()));
        if ((control & 0x40) != 0) {
            file.resize(at);
            continue;
        }
        std::ranges::copy(piece.first(std::min(piece.size(), file.size() - at)),
                          file.begin() + static_cast<std::ptrdiff_t>(at));
        if ((control & 0x80) != 0) {
            repair(file, at);
        }
    }
    return file;
}

inline void put_file(Disk& disk, const std::string& path, Bytes content) {
    CW_ASSERT(write_file_atomically(disk, path, content, 0600).has_value());
}

}  // namespace cw::fuzz
