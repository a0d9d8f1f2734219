#include "pipeline/crc_combine.h"

#include "base/checksum.h"
#include "base/random.h"

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

TEST(CrcCombine, EqualsTheCrcOfTheConcatenationForAnyCut) {
    const auto random = make_seeded_random(1);
    ByteVector bytes(70'000);
    random->fill(bytes);
    const Bytes all(bytes);
    for (const std::size_t cut : {0UL, 1UL, 7UL, 4096UL, 65'535UL, 65'536UL, 70'000UL}) {
        const Bytes a = all.first(cut), b = all.subspan(cut);
        EXPECT_EQ(crc64nvme_combine(crc64nvme(a), crc64nvme(b), b.size()), crc64nvme(all)) << cut;
        EXPECT_EQ(crc32c_combine(crc32c(a), crc32c(b), b.size()), crc32c(all)) << cut;
    }
}

TEST(CrcCombine, TellsTheOrderOfParts) {
    const Bytes a = as_bytes("recovery"), b = as_bytes("point");
    EXPECT_NE(crc64nvme_combine(crc64nvme(a), crc64nvme(b), b.size()),
              crc64nvme_combine(crc64nvme(b), crc64nvme(a), a.size()));
}

}  // namespace
}  // namespace cw::pipeline
