// A disk image to measure with: generated, seeded, and shaped like a real server's disk.
//
// Kinds and shares follow a measured ext4 image: programs and libraries, source text, HTML, logs,
// database pages with rewritten rows, compressed media, deleted files' remains, and about 17 % zero
// runs. Compressibility per kind is close to the real thing, so that codecs behave as they do on
// disks: neither all random nor all zeros. Nothing of the machine it runs on enters it.
#pragma once

#include "base/bytes.h"

#include <cstdint>

namespace cw::bench {

inline constexpr std::uint64_t corpus_unit_bytes = 1024 * 1024;

// Thread-safety: fill() is const and may run on several threads. The same seed gives the same
// image, whatever the order in which it is asked for.
class Corpus {
public:
    explicit Corpus(std::uint64_t seed) : seed_(seed) {}
    // Bytes [offset, offset + out.size()) of the image; offset is a multiple of corpus_unit_bytes,
    // the size too.
    void fill(std::uint64_t offset, MutableBytes out) const;

private:
    void fill_unit(std::uint64_t unit, MutableBytes out) const;
    std::uint64_t seed_;
};

}  // namespace cw::bench
