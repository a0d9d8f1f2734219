#include "pipeline/coalesce.h"

#include "base/random.h"
#include "pipeline/slab.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

constexpr std::uint32_t no_input = UINT32_MAX;

// What each sector of the disk must come from: the input, and the position in its record's data.
struct Origin {
    std::uint32_t input = no_input;
    std::uint32_t position = 0;
    friend bool operator==(const Origin&, const Origin&) = default;
};

PlanInput write_input(std::uint32_t record, std::uint64_t seq, std::uint64_t offset,
                      std::uint32_t length, std::uint32_t position) {
    return {.record = record,
            .extent_index = 0,
            .seq = Seq{seq},
            .extent = {.offset = offset, .length = length, .data_position = position}};
}

class Model {
public:
    explicit Model(std::size_t sectors) : sectors_(sectors) {}
    void apply(const std::vector<PlanInput>& inputs) {
        std::vector<std::uint32_t> order;
        for (std::uint32_t i = 0; i < inputs.size(); ++i) {
            order.push_back(i);
        }
        std::ranges::stable_sort(order, {}, [&](std::uint32_t i) { return inputs[i].seq; });
        for (const std::uint32_t i : order) {
            const Extent& extent = inputs[i].extent;
            for (std::uint32_t at = 0; at < extent.length; at += sector_bytes) {
                sectors_[(extent.offset + at) / sector_bytes] = {
                    .input = i, .position = extent.data_position + at};
            }
        }
    }
    // Takes what `plan` says out of the model; true if every sector agrees and none is left.
    ::testing::AssertionResult agrees(const SegmentPlan& plan,
                                      const std::vector<PlanInput>& inputs) {
        for (const PlannedChunk& chunk : plan.chunks) {
            std::uint64_t at = chunk.disk_offset;
            Seq newest{};
            for (std::uint32_t f = 0; f < chunk.fragment_count; ++f) {
                const Fragment& fragment = plan.fragments[chunk.first_fragment + f];
                const SourceExtent& source = plan.sources[fragment.source];
                for (std::uint32_t k = 0; k < fragment.length; k += sector_bytes) {
                    const Origin origin = take(at + k);
                    if (origin.input == no_input || origin.position != fragment.data_position + k ||
                        inputs[origin.input].record != source.record ||
                        inputs[origin.input].extent_index != source.extent_index ||
                        inputs[origin.input].extent.op != ExtentOp::write) {
                        return ::testing::AssertionFailure() << "data at disk offset " << at + k;
                    }
                    newest = std::max(newest, inputs[origin.input].seq);
                }
                at += fragment.length;
            }
            if (at != chunk.disk_offset + chunk.length || newest != chunk.last_seq) {
                return ::testing::AssertionFailure() << "chunk at " << chunk.disk_offset;
            }
        }
        for (const PlannedHole& hole : plan.holes) {
            Seq newest{};
            for (std::uint64_t k = 0; k < hole.length; k += sector_bytes) {
                const Origin origin = take(hole.disk_offset + k);
                const ExtentOp op = hole.codec == Codec::zero ? ExtentOp::zero : ExtentOp::discard;
                if (origin.input == no_input || inputs[origin.input].extent.op != op) {
                    return ::testing::AssertionFailure() << "hole at " << hole.disk_offset + k;
                }
                newest = std::max(newest, inputs[origin.input].seq);
            }
            if (newest != hole.last_seq) {
                return ::testing::AssertionFailure() << "newest of hole at " << hole.disk_offset;
            }
        }
        for (std::size_t i = 0; i < sectors_.size(); ++i) {
            if (sectors_[i].input != no_input) {
                return ::testing::AssertionFailure() << "sector " << i << " is missing";
            }
        }
        return ::testing::AssertionSuccess();
    }

private:
    Origin take(std::uint64_t offset) {
        return std::exchange(sectors_[offset / sector_bytes], Origin{});
    }
    std::vector<Origin> sectors_;
};

void expect_well_formed(const SegmentPlan& plan) {
    std::uint64_t end = 0, raw = 0;
    for (const PlannedChunk& chunk : plan.chunks) {
        EXPECT_GE(chunk.disk_offset, end);
        EXPECT_GT(chunk.length, 0U);
        EXPECT_LE(chunk.length, chunk_bytes_max);
        EXPECT_EQ(chunk.disk_offset % sector_bytes, 0U);
        end = chunk.disk_offset + chunk.length;
        raw += chunk.length;
        const Fragment& first = plan.fragments[chunk.first_fragment];
        bool one_span = true;
        std::uint32_t position = first.data_position;
        for (std::uint32_t f = 0; f < chunk.fragment_count; ++f) {
            const Fragment& fragment = plan.fragments[chunk.first_fragment + f];
            EXPECT_LE(fragment.data_position % slab_bytes + fragment.length, slab_bytes);
            one_span &= plan.sources[fragment.source].record == plan.sources[first.source].record &&
                        fragment.data_position == position &&
                        (f == 0 || position % slab_bytes != 0);
            position = fragment.data_position + fragment.length;
        }
        EXPECT_EQ(chunk.gather, !one_span) << "chunk at " << chunk.disk_offset;
    }
    EXPECT_EQ(raw, plan.raw_bytes);
}

// Records as agents make them: extents of one record lie behind each other in its data.
std::vector<PlanInput> random_inputs(Random& random, std::size_t sectors) {
    std::vector<PlanInput> inputs;
    const std::uint64_t count = 1 + random.below(40);
    std::uint32_t record = 0, index = 0, position = 0;
    for (std::uint64_t seq = 1; seq <= count; ++seq) {
        const bool big = random.below(4) == 0;
        const std::uint64_t length = 1 + random.below(big ? 600 : 16);
        const std::uint64_t offset = random.below(sectors - length);
        if (random.below(4) == 0 || position + length * sector_bytes > record_data_bytes_max) {
            ++record;
            index = 0;
            position = static_cast<std::uint32_t>(random.below(2) * (slab_bytes - 64 * kib));
        }
        const auto op = static_cast<ExtentOp>(random.below(8) == 0 ? 1 + random.below(2) : 0);
        // Sometimes a sequential writer: right behind the one before.
        std::uint64_t place = offset * sector_bytes;
        if (!inputs.empty() && random.below(2) == 0) {
            const Extent& last = inputs.back().extent;
            if (last.offset + last.length + length * sector_bytes <= sectors * sector_bytes) {
                place = last.offset + last.length;
            }
        }
        PlanInput input =
            write_input(record, seq, place, static_cast<std::uint32_t>(length * sector_bytes), 0);
        input.extent_index = index++;
        input.extent.op = op;
        if (op == ExtentOp::write) {
            input.extent.data_position = position;
            position += static_cast<std::uint32_t>(align_up(length * sector_bytes, block_bytes));
        }
        inputs.push_back(input);
    }
    return inputs;
}

TEST(Coalesce, KeepsExactlyTheLastVersionOfEverySector) {
    constexpr std::size_t sectors = 4096;
    const char* const given = std::getenv("CAUSEWAY_SEED");
    const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
    const std::uint64_t last = given != nullptr ? first : 3'000;
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        const auto random = make_seeded_random(seed);
        std::vector<PlanInput> inputs = random_inputs(*random, sectors);
        Model model(sectors);
        model.apply(inputs);
        // Lanes may deliver records in any order: the sequence decides, not the place in the list.
        for (std::size_t i = inputs.size(); i > 1; --i) {
            std::swap(inputs[i - 1], inputs[random->below(i)]);
        }
        Model shuffled(sectors);
        shuffled.apply(inputs);
        const SegmentPlan plan = build_plan(inputs);
        expect_well_formed(plan);
        ASSERT_TRUE(shuffled.agrees(plan, inputs)) << "CAUSEWAY_SEED=" << seed;
        ASSERT_FALSE(HasFailure()) << "CAUSEWAY_SEED=" << seed;
    }
}

TEST(Coalesce, CountsWhatIsNotUploaded) {
    const std::vector<PlanInput> inputs{
        write_input(0, 1, 0, 8192, 0),
        write_input(0, 2, 4096, 8192, 8192),
    };
    const SegmentPlan plan = build_plan(inputs);
    EXPECT_EQ(plan.raw_bytes, 12'288U);
    EXPECT_EQ(plan.coalesced_bytes, 4096U);
}

TEST(Coalesce, CutsAFullSuperChunkAtSlabsWithoutCopying) {
    const std::vector<PlanInput> inputs{write_input(7, 1, 4 * mib, 4 * mib, 0)};
    const SegmentPlan plan = build_plan(inputs);
    ASSERT_EQ(plan.chunks.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(plan.chunks[i].disk_offset, 4 * mib + i * mib);
        EXPECT_EQ(plan.chunks[i].length, mib);
    }
    EXPECT_EQ(plan.gathered_bytes, 0U);
    EXPECT_EQ(plan.sources.size(), 1U);
}

TEST(Coalesce, JoinsASequentialWritersExtentsWithoutCopying) {
    std::vector<PlanInput> inputs;
    for (std::uint32_t i = 0; i < 16; ++i) {
        inputs.push_back(write_input(0, i + 1, i * 64 * kib, 64 * kib, i * 64 * 1024));
        inputs.back().extent_index = i;
    }
    const SegmentPlan plan = build_plan(inputs);
    ASSERT_EQ(plan.chunks.size(), 1U);
    EXPECT_EQ(plan.chunks[0].length, mib);
    EXPECT_EQ(plan.chunks[0].fragment_count, 16U);
    EXPECT_EQ(plan.chunks[0].last_seq, Seq{16});
    EXPECT_EQ(plan.gathered_bytes, 0U);
}

TEST(Coalesce, GathersSmallNeighboursAndNeverBigOnes) {
    std::vector<PlanInput> inputs;
    for (std::uint32_t i = 0; i < 512; ++i) {  // 2 MiB of 4 KiB writes from as many records.
        inputs.push_back(write_input(i, i + 1, i * 4 * kib, 4 * kib, 0));
    }
    SegmentPlan plan = build_plan(inputs);
    ASSERT_EQ(plan.chunks.size(), 2U);
    EXPECT_EQ(plan.chunks[0].length, mib);
    EXPECT_EQ(plan.gathered_bytes, 2 * mib);
    inputs.clear();
    for (std::uint32_t i = 0; i < 4; ++i) {
        inputs.push_back(write_input(i, i + 1, i * 64 * kib, 64 * kib, 0));
    }
    plan = build_plan(inputs);
    EXPECT_EQ(plan.chunks.size(), 4U);
    EXPECT_EQ(plan.gathered_bytes, 0U);
}

TEST(Coalesce, EndsALongGatheredChunkWhereAFingerprintBlockEnds) {
    std::vector<PlanInput> inputs;
    for (std::uint32_t i = 0; i < 400; ++i) {
        inputs.push_back(write_input(i, i + 1, 20 * kib + i * 4 * kib, 4 * kib, 0));
    }
    const SegmentPlan plan = build_plan(inputs);
    ASSERT_EQ(plan.chunks.size(), 2U);
    EXPECT_EQ((plan.chunks[0].disk_offset + plan.chunks[0].length) % (64 * kib), 0U);
}

TEST(Coalesce, MergesHolesAndLetsNewerDataLieOnThem) {
    std::vector<PlanInput> inputs;
    for (std::uint32_t i = 0; i < 4; ++i) {
        inputs.push_back(write_input(0, i + 1, i * 8 * mib, 8 * mib, 0));
        inputs.back().extent.op = ExtentOp::discard;
        inputs.back().extent_index = i;
    }
    SegmentPlan plan = build_plan(inputs);
    ASSERT_EQ(plan.holes.size(), 1U);
    EXPECT_EQ(plan.holes[0].length, 32 * mib);
    EXPECT_EQ(plan.holes[0].last_seq, Seq{4});
    inputs.push_back(write_input(1, 5, 16 * mib, 512, 0));
    plan = build_plan(inputs);
    EXPECT_EQ(plan.holes.size(), 2U);
    EXPECT_EQ(plan.chunks.size(), 1U);
}

TEST(Coalesce, LaterInputWinsAmongEqualSequences) {
    const std::vector<PlanInput> inputs{write_input(0, 9, 0, 4096, 0),
                                        write_input(1, 9, 0, 4096, 0)};
    const SegmentPlan plan = build_plan(inputs);
    ASSERT_EQ(plan.sources.size(), 1U);
    EXPECT_EQ(plan.sources[0].record, 1U);
}

TEST(Coalesce, PlansNothingFromNothing) {
    const SegmentPlan plan = build_plan({});
    EXPECT_TRUE(plan.chunks.empty());
    EXPECT_TRUE(plan.holes.empty());
}

}  // namespace
}  // namespace cw::pipeline
