// What hints leave to a scan, and the program that makes them, run here by a machine of our own.
#include "agent/hints/block_hints.h"
#include "agent/hints/block_trace.h"
#include "agent/hints/dirty_hints.h"

#include <cstring>

#include <gtest/gtest.h>

namespace cw::agent::test {
namespace {

DirtyHints::Taken taken(std::initializer_list<std::uint64_t> blocks, bool complete = true) {
    DirtyHints::Taken out;
    for (const std::uint64_t block : blocks) {
        out.blocks.add_range(block * map_block_bytes, 1);
    }
    out.complete = complete;
    return out;
}

constexpr std::uint64_t all = ~std::uint64_t{0};

// A ledger after a whole full scan at second 0.
HintLedger proven() {
    HintLedger ledger(100 * ns_per_s);
    ledger.begin(Nanos{}, 1, taken({3}));
    ledger.end(true);
    return ledger;
}

TEST(HintLedger, NarrowsOnlyAfterAWholeFullScan) {
    HintLedger ledger(100 * ns_per_s);
    ledger.begin(Nanos{}, 0, taken({3}));
    EXPECT_FALSE(ledger.narrow());
    EXPECT_EQ(ledger.mask(7), all);
    EXPECT_EQ(ledger.next(2, 9), 2U);
    ledger.end(false);
    ledger.begin(Nanos{}, 0, taken({}));
    EXPECT_FALSE(ledger.narrow());
    ledger.end(true);
    ledger.begin(Nanos{}, 0, taken({64, 130}));
    EXPECT_TRUE(ledger.narrow());
    EXPECT_EQ(ledger.mask(0), 0U);
    EXPECT_EQ(ledger.mask(1), 1U);
    EXPECT_EQ(ledger.mask(2), 4U);
    EXPECT_EQ(ledger.next(0, 9), 1U);
    EXPECT_EQ(ledger.next(2, 9), 2U);
    EXPECT_EQ(ledger.next(3, 9), 9U);
    EXPECT_EQ(ledger.next(0, 1), 1U);  // Of a disk that is shorter than its hints.
}

TEST(HintLedger, KeepsWhatAScanThatWasNotWholeShouldHaveRead) {
    HintLedger ledger = proven();
    ledger.begin(Nanos{1}, 1, taken({5}));
    ledger.end(false);
    ledger.begin(Nanos{2}, 1, taken({6}));
    ASSERT_TRUE(ledger.narrow());
    EXPECT_EQ(ledger.mask(0), 0b1100000U);
    ledger.end(true);
    ledger.add(taken({9}));
    ledger.begin(Nanos{3}, 1, taken({}));
    EXPECT_EQ(ledger.mask(0), 1U << 9);
}

TEST(HintLedger, ALossMakesTheNextScanFullUntilOneWasWhole) {
    HintLedger ledger = proven();
    ledger.begin(Nanos{1}, 1, taken({5}, false));
    EXPECT_FALSE(ledger.narrow());
    ledger.end(false);
    ledger.begin(Nanos{2}, 1, taken({}));
    EXPECT_FALSE(ledger.narrow());
    ledger.end(true);
    ledger.begin(Nanos{3}, 1, taken({}));
    EXPECT_TRUE(ledger.narrow());
    ledger.end(true);
    ledger.add(taken({}, false));
    ledger.begin(Nanos{4}, 1, taken({}));
    EXPECT_FALSE(ledger.narrow());
}

TEST(HintLedger, AFenceMakesTheNextScanFull) {
    HintLedger ledger = proven();
    ledger.begin(Nanos{1}, 2, taken({}));
    EXPECT_FALSE(ledger.narrow());
    ledger.end(true);
    ledger.begin(Nanos{2}, 2, taken({}));
    EXPECT_TRUE(ledger.narrow());
}

TEST(HintLedger, ChecksItsHintsByAFullScanAtTheInterval) {
    HintLedger ledger = proven();
    ledger.begin(Nanos{99 * ns_per_s}, 1, taken({5}));
    EXPECT_TRUE(ledger.narrow());
    ledger.end(true);
    ledger.begin(Nanos{100 * ns_per_s}, 1, taken({6}));
    EXPECT_FALSE(ledger.narrow());
    EXPECT_TRUE(ledger.foretold(6));
    EXPECT_FALSE(ledger.foretold(5));  // That one was read.
    ledger.end(true);
    ledger.begin(Nanos{101 * ns_per_s}, 1, taken({7}, false));
    EXPECT_TRUE(ledger.foretold(5));  // Nobody promised anything.
}

TEST(BlockHints, AreOfBlockDevicesOnly) {
    const auto missing = BlockHints::open("/dev/there-is-no-such-disk");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Errc::not_found);
    const auto other = BlockHints::open("/dev/null");
    ASSERT_FALSE(other);
    EXPECT_NE(other.error().detail.find("not a block device"), std::string::npos);
}

constexpr const char* format_text =
    "name: block_rq_complete\nID: 1\nformat:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n"
    "\tfield:dev_t dev;\toffset:8;\tsize:4;\tsigned:0;\n"
    "\tfield:sector_t sector;\toffset:16;\tsize:8;\tsigned:0;\n"
    "\tfield:unsigned int nr_sector;\toffset:24;\tsize:4;\tsigned:0;\n"
    "\tfield:int error;\toffset:28;\tsize:4;\tsigned:1;\n"
    "\tfield:char rwbs[8];\toffset:34;\tsize:8;\tsigned:0;\n\nprint fmt: \"%d\"\n";

std::string with(std::string text, const std::string& what, const std::string& instead) {
    return text.replace(text.find(what), what.size(), instead);
}

TEST(BlockTraceFormat, TakesOffsetsFromTheKernelsWords) {
    const auto format = parse_block_trace_format(format_text);
    ASSERT_TRUE(format) << to_string(format.error());
    EXPECT_EQ(format->device, 8);
    EXPECT_EQ(format->sector, 16);
    EXPECT_EQ(format->sectors, 24);
    EXPECT_EQ(format->kind, 34);
}

TEST(BlockTraceFormat, RefusesFieldsThatAreMissingOrNotAsTheyShouldBe) {
    EXPECT_FALSE(parse_block_trace_format(""));
    for (const auto& [what, instead] :
         {std::pair("dev_t dev", "dev_t device"), std::pair("sector_t sector", "u64 my_sector"),
          std::pair("offset:16", "offset:20"), std::pair("offset:8;", "offset:0;"),
          std::pair("offset:24;\tsize:4", "offset:24;\tsize:8"), std::pair("offset:34", "offset:x"),
          std::pair("offset:34", "offset:99999")}) {
        EXPECT_FALSE(parse_block_trace_format(with(format_text, what, instead))) << instead;
    }
}

// Runs what the program may consist of; anything else fails the test.
class Machine {
public:
    explicit Machine(const WatchedDevice& device) : device_(device) {
        program_ = block_trace_program(parse_block_trace_format(format_text).value(), device, 7);
        memory.resize(block_trace_head_bytes + device.regions());
    }

    void record(std::uint32_t device, std::uint64_t sector, std::uint32_t sectors, char kind) {
        std::array<std::uint8_t, 64> record{};
        std::memcpy(&record[8], &device, 4);
        std::memcpy(&record[16], &sector, 8);
        std::memcpy(&record[24], &sectors, 4);
        record[34] = static_cast<std::uint8_t>(kind);
        std::array<std::uint64_t, 11> r{};
        r[1] = reinterpret_cast<std::uint64_t>(record.data());
        std::size_t at = 0;
        for (int steps = 0; steps < 10'000; ++steps) {
            ASSERT_LT(at, program_.size());
            const bpf_insn& now = program_[at++];
            if (now.code == (BPF_JMP | BPF_EXIT)) {
                EXPECT_EQ(r[0], 0U);
                return;
            }
            step(now, r, at);
        }
        FAIL() << "it does not end";
    }
    void write(std::uint64_t sector, std::uint32_t sectors, char kind = 'W') {
        record(device_.device, sector, sectors, kind);
    }
    // Which regions are marked; they are not afterwards.
    std::vector<std::size_t> marks() {
        std::vector<std::size_t> out;
        for (std::size_t i = block_trace_head_bytes; i < memory.size(); ++i) {
            if (memory[i] != 0) {
                out.push_back(i - block_trace_head_bytes);
            }
        }
        std::ranges::fill(memory, std::uint8_t{0});
        return out;
    }
    [[nodiscard]] bool lost() const { return memory[0] != 0; }

    std::vector<std::uint8_t> memory;

private:
    void step(const bpf_insn& now, std::array<std::uint64_t, 11>& r, std::size_t& at) {
        const auto number = static_cast<std::uint64_t>(std::int64_t{now.imm});
        const std::uint64_t other = (now.code & BPF_X) != 0 ? r[now.src_reg] : number;
        std::uint64_t& to = r[now.dst_reg];
        switch (BPF_CLASS(now.code)) {
            case BPF_LD:
                to = now.src_reg == BPF_PSEUDO_MAP_VALUE
                         ? reinterpret_cast<std::uint64_t>(memory.data())
                         : static_cast<std::uint32_t>(now.imm) |
                               static_cast<std::uint64_t>(program_[at].imm) << 32;
                ++at;
                return;
            case BPF_LDX: {
                const std::size_t width = BPF_SIZE(now.code) == BPF_W   ? 4
                                          : BPF_SIZE(now.code) == BPF_B ? 1
                                                                        : 8;
                const auto* const from = reinterpret_cast<const char*>(r[now.src_reg]) + now.off;
                to = 0;
                std::memcpy(&to, from, width);
                return;
            }
            case BPF_ST: {
                auto* const where = reinterpret_cast<std::uint8_t*>(to) + now.off;
                ASSERT_TRUE(where >= memory.data() && where < memory.data() + memory.size());
                ASSERT_EQ(BPF_SIZE(now.code), BPF_B);
                *where = static_cast<std::uint8_t>(now.imm);
                return;
            }
            case BPF_ALU64:
                switch (BPF_OP(now.code)) {
                    case BPF_MOV:
                        to = other;
                        return;
                    case BPF_ADD:
                        to += other;
                        return;
                    case BPF_SUB:
                        to -= other;
                        return;
                    case BPF_RSH:
                        to >>= other;
                        return;
                    default:
                        FAIL() << "operation " << int{now.code};
                }
            default:
                jump(now, to, other, at);
        }
    }
    static void jump(const bpf_insn& now, std::uint64_t left, std::uint64_t right,
                     std::size_t& at) {
        if (BPF_CLASS(now.code) == BPF_JMP32) {
            left = static_cast<std::uint32_t>(left);
            right = static_cast<std::uint32_t>(right);
        }
        const int op = BPF_OP(now.code);
        ASSERT_TRUE(op == BPF_JA || op == BPF_JEQ || op == BPF_JNE || op == BPF_JLT ||
                    op == BPF_JGE || op == BPF_JGT || op == BPF_JLE);
        const bool taken = op == BPF_JA || (op == BPF_JEQ && left == right) ||
                           (op == BPF_JNE && left != right) || (op == BPF_JLT && left < right) ||
                           (op == BPF_JGE && left >= right) || (op == BPF_JGT && left > right) ||
                           (op == BPF_JLE && left <= right);
        if (taken) {
            at += static_cast<std::size_t>(std::ptrdiff_t{now.off});
        }
    }

    const WatchedDevice device_;
    std::vector<bpf_insn> program_;
};

using Marks = std::vector<std::size_t>;
constexpr WatchedDevice whole{.device = 0xfff00003, .first_sector = 0, .sectors = 128 * 300 + 5};

TEST(BlockTraceProgram, MarksEveryRegionThatAWriteTouches) {
    Machine machine(whole);
    machine.write(0, 1);
    machine.write(127, 2);
    EXPECT_EQ(machine.marks(), (Marks{0, 1}));
    machine.write(128 * 300 + 4, 1);  // The last sector.
    machine.write(256, 128, 'D');
    machine.write(512, 1, 'F');  // A write that flushes first.
    machine.write(640, 1, 'N');  // What older kernels call writing zeros.
    EXPECT_EQ(machine.marks(), (Marks{2, 4, 5, 300}));
    machine.write(1, 128 * 255);
    EXPECT_EQ(machine.marks().size(), 256U);
    EXPECT_FALSE(machine.lost());
}

TEST(BlockTraceProgram, OverlooksReadsFlushesAndOtherDevices) {
    Machine machine(whole);
    machine.write(0, 8, 'R');
    machine.write(UINT64_MAX, 0, 'F');
    machine.write(0, 0, 'W');  // The rest of a flush.
    machine.record(whole.device + 1, 0, 8, 'W');
    EXPECT_TRUE(machine.marks().empty());
    EXPECT_FALSE(machine.lost());
}

TEST(BlockTraceProgram, SaysThatItLostWhatItCannotMark) {
    Machine machine(whole);
    machine.write(0, 0, 'N');  // A command that the kernel does not understand.
    EXPECT_TRUE(machine.lost());
    machine.marks();
    machine.write(1, 128 * 256);  // One region too many.
    EXPECT_TRUE(machine.lost());
}

TEST(BlockTraceProgram, OfAPartitionMarksWhatLiesInIt) {
    Machine machine({.device = 1, .first_sector = 1000, .sectors = 300, .region_shift = 7});
    machine.write(0, 1000);
    machine.write(1300, 50);
    EXPECT_TRUE(machine.marks().empty());
    machine.write(990, 11);
    EXPECT_EQ(machine.marks(), (Marks{0}));
    machine.write(1299, 100);
    EXPECT_EQ(machine.marks(), (Marks{2}));
    machine.write(0, 5000);
    EXPECT_EQ(machine.marks(), (Marks{0, 1, 2}));
    machine.write(UINT64_MAX - 3, 4);
    EXPECT_TRUE(machine.marks().empty());
    EXPECT_FALSE(machine.lost());
}

}  // namespace
}  // namespace cw::agent::test
