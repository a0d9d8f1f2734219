#include "egress/vault/names.h"

#include "base/random.h"

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

SegmentName some_name(Random& random) {
    SegmentName name{make_id<MachineId>(random),
                     make_id<DiskId>(random),
                     Generation{3},
                     Epoch{7},
                     Seq{0x1234},
                     {}};
    random.fill(name.attempt);
    return name;
}

TEST(Names, SegmentNameComesBackFromItsObjectName) {
    const auto random = make_seeded_random(1);
    for (int i = 0; i < 100; ++i) {
        const SegmentName name = some_name(*random);
        const blob::BlobName blob = segment_blob(name);
        EXPECT_TRUE(blob::check_name(blob));
        const auto parsed = parse_segment_blob(blob);
        ASSERT_TRUE(parsed) << to_string(parsed.error());
        EXPECT_EQ(*parsed, name);
    }
}

TEST(Names, SegmentNameIsSpelledInExactlyOneWay) {
    const auto random = make_seeded_random(2);
    const blob::BlobName good = segment_blob(some_name(*random));
    for (std::size_t i = 0; i < good.name.size(); ++i) {
        for (const char c : {'0', 'f', 'F', '-', '/', 'x'}) {
            blob::BlobName bad = good;
            bad.name[i] = c;
            const auto parsed = parse_segment_blob(bad);
            if (parsed) {
                EXPECT_EQ(segment_blob(*parsed), bad);
            }
        }
        blob::BlobName cut = good;
        cut.name.resize(i);
        EXPECT_FALSE(parse_segment_blob(cut)) << cut.name;
    }
    EXPECT_FALSE(parse_segment_blob({blob::Container::control, good.name}));
    EXPECT_FALSE(parse_segment_blob({blob::Container::data, good.name + "0"}));
}

TEST(Names, SegmentsOfDifferentDisksSpreadOverPrefixes) {
    const auto random = make_seeded_random(3);
    std::set<std::string> prefixes;
    for (int i = 0; i < 64; ++i) {
        prefixes.insert(segment_blob(some_name(*random)).name.substr(0, 3));
    }
    EXPECT_GT(prefixes.size(), 50U);
}

TEST(Names, ManifestNumbersSortAsText) {
    const auto random = make_seeded_random(4);
    const auto machine = make_id<MachineId>(*random);
    std::string before;
    for (const std::uint64_t number : {1ULL, 9ULL, 10ULL, 99'999ULL, ~0ULL}) {
        const blob::BlobName blob = manifest_blob(machine, number);
        EXPECT_LT(before, blob.name);
        EXPECT_TRUE(blob.name.starts_with(manifest_prefix(machine)));
        EXPECT_EQ(parse_manifest_number(blob).value(), number);
        before = blob.name;
    }
}

TEST(Names, ManifestNumberIsRefusedUnlessCanonical) {
    const auto random = make_seeded_random(5);
    const std::string prefix = manifest_prefix(make_id<MachineId>(*random));
    for (const std::string bad : {"1", "0000000000000000000a", "00000000000000000000",
                                  "99999999999999999999", "000000000000000000001", ""}) {
        EXPECT_FALSE(parse_manifest_number({blob::Container::manifest, prefix + bad})) << bad;
    }
}

}  // namespace
}  // namespace cw::vault
