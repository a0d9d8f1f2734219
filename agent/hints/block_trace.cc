#include "agent/hints/block_trace.h"

#include "base/bytes.h"

#include <charconv>
#include <optional>
#include <sstream>
#include <string_view>

namespace cw::agent {
namespace {

struct Field {
    int offset = -1, size = 0;
};

// "\tfield:sector_t sector;\toffset:16;\tsize:8;\tsigned:0;"
std::optional<int> number_after(std::string_view line, std::string_view key) {
    const std::size_t at = line.find(key);
    if (at == std::string_view::npos) {
        return std::nullopt;
    }
    int number = 0;
    const char* const from = line.data() + at + key.size();
    const auto [end, bad] = std::from_chars(from, line.data() + line.size(), number);
    return bad == std::errc{} ? std::optional(number) : std::nullopt;
}

bool declares(std::string_view line, std::string_view name) {
    constexpr std::string_view mark = "field:";
    const std::size_t begin = line.find(mark);
    if (begin == std::string_view::npos) {
        return false;
    }
    std::string_view declared = line.substr(begin + mark.size());
    declared = declared.substr(0, declared.find(';'));
    declared = declared.substr(0, declared.find('['));
    return declared.ends_with(name) && declared.size() > name.size() &&
           declared[declared.size() - name.size() - 1] == ' ';
}

Result<std::int16_t> field_at(const std::string& text, std::string_view name, int size) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (!declares(line, name)) {
            continue;
        }
        const auto offset = number_after(line, "offset:"), bytes = number_after(line, "size:");
        const bool fits = offset && bytes && *offset >= 8 && *offset < 4096 &&
                          *offset % size == 0 && (size == 1 ? *bytes >= 1 : *bytes == size);
        if (fits) {
            return static_cast<std::int16_t>(*offset);
        }
    }
    return fail(Errc::not_found, "the tracepoint has no usable field '" + std::string(name) + "'");
}

// Instructions one after the other; jumps name labels.
class Assembler {
public:
    enum class Label : std::uint8_t { ranged, lost, done, inside, clipped, next, labels };

    void put(int code, int to, int from, int offset, std::int32_t value) {
        bpf_insn made{};
        made.code = static_cast<__u8>(code);
        made.dst_reg = static_cast<__u8>(to & 0xf);
        made.src_reg = static_cast<__u8>(from & 0xf);
        made.off = static_cast<__s16>(offset);
        made.imm = value;
        out_.push_back(made);
    }
    void load(int width, int to, int from, int offset) {
        put(BPF_LDX | BPF_MEM | width, to, from, offset, 0);
    }
    void constant(int to, std::uint64_t value) { wide(to, 0, value); }
    void map_value(int to, int map) {
        wide(to, BPF_PSEUDO_MAP_VALUE, static_cast<std::uint32_t>(map));
    }
    void math(int op, int to, int from) { put(BPF_ALU64 | op | BPF_X, to, from, 0, 0); }
    void math_with(int op, int to, std::int32_t value) {
        put(BPF_ALU64 | op | BPF_K, to, 0, 0, value);
    }
    void go(Label where) { jump(BPF_JMP | BPF_JA, 0, 0, 0, where); }
    void go_if(int op, int left, int right, Label where) {
        jump(BPF_JMP | op | BPF_X, left, right, 0, where);
    }
    void go_if_with(int op, int left, std::int32_t value, Label where, int width = BPF_JMP) {
        jump(width | op | BPF_K, left, 0, value, where);
    }
    void here(Label label) { places_[static_cast<std::size_t>(label)] = out_.size(); }

    std::vector<bpf_insn> finish() {
        for (const auto& [at, label] : jumps_) {
            const std::size_t place = places_[static_cast<std::size_t>(label)];
            out_[at].off = static_cast<__s16>(static_cast<std::ptrdiff_t>(place) -
                                              static_cast<std::ptrdiff_t>(at) - 1);
        }
        return std::move(out_);
    }

private:
    void wide(int to, int kind, std::uint64_t value) {
        put(BPF_LD | BPF_IMM | BPF_DW, to, kind, 0, static_cast<std::int32_t>(value));
        // Of a map's value the second half is the offset in it.
        put(0, 0, 0, 0, kind == 0 ? static_cast<std::int32_t>(value >> 32) : 0);
    }
    void jump(int code, int left, int right, std::int32_t value, Label where) {
        jumps_.emplace_back(out_.size(), where);
        put(code, left, right, 0, value);
    }

    std::vector<bpf_insn> out_;
    std::vector<std::pair<std::size_t, Label>> jumps_;
    std::array<std::size_t, static_cast<std::size_t>(Label::labels)> places_{};
};

constexpr int kind_of = BPF_REG_2, first = BPF_REG_3, last = BPF_REG_4, scratch = BPF_REG_5,
              record = BPF_REG_6, value = BPF_REG_7, turns = BPF_REG_8, mark = BPF_REG_9;

}  // namespace

Result<BlockTraceFormat> parse_block_trace_format(const std::string& text) {
    BlockTraceFormat format;
    CW_TRY_ASSIGN(format.device, field_at(text, "dev", 4));
    CW_TRY_ASSIGN(format.sector, field_at(text, "sector", 8));
    CW_TRY_ASSIGN(format.sectors, field_at(text, "nr_sector", 4));
    CW_TRY_ASSIGN(format.kind, field_at(text, "rwbs", 1));
    return format;
}

std::vector<bpf_insn> block_trace_program(const BlockTraceFormat& format,
                                          const WatchedDevice& device, int map) {
    using enum Assembler::Label;
    CW_ASSERT(device.sectors > 0 && device.regions() < INT32_MAX);
    Assembler a;
    a.put(BPF_ALU64 | BPF_MOV | BPF_X, record, BPF_REG_1, 0, 0);
    a.load(BPF_W, kind_of, record, format.device);
    a.go_if_with(BPF_JNE, kind_of, static_cast<std::int32_t>(device.device), done, BPF_JMP32);
    // What is not a read may write. Flushes are without a range; so is, as 'N', a command that the
    // kernel passes on without understanding it.
    a.load(BPF_B, kind_of, record, format.kind);
    a.go_if_with(BPF_JEQ, kind_of, 'R', done);
    a.map_value(value, map);
    a.load(BPF_DW, first, record, format.sector);
    a.load(BPF_W, last, record, format.sectors);
    a.go_if_with(BPF_JNE, last, 0, ranged);
    a.go_if_with(BPF_JEQ, kind_of, 'N', lost);
    a.go(done);
    // Clipped to the partition, and relative to it.
    a.here(ranged);
    a.math(BPF_ADD, last, first);
    a.math_with(BPF_ADD, last, -1);
    a.constant(scratch, device.first_sector);
    a.go_if(BPF_JLT, last, scratch, done);
    a.go_if(BPF_JGE, first, scratch, inside);
    a.math(BPF_MOV, first, scratch);
    a.here(inside);
    a.math(BPF_SUB, first, scratch);
    a.math(BPF_SUB, last, scratch);
    a.constant(scratch, device.sectors - 1);
    a.go_if(BPF_JGT, first, scratch, done);
    a.go_if(BPF_JLE, last, scratch, clipped);
    a.math(BPF_MOV, last, scratch);
    a.here(clipped);
    a.math_with(BPF_RSH, first, static_cast<std::int32_t>(device.region_shift));
    a.math_with(BPF_RSH, last, static_cast<std::int32_t>(device.region_shift));
    a.math_with(BPF_MOV, turns, 0);
    a.here(next);
    a.go_if_with(BPF_JGE, first, static_cast<std::int32_t>(device.regions()), lost);
    a.math(BPF_MOV, mark, value);
    a.math(BPF_ADD, mark, first);
    a.put(BPF_ST | BPF_MEM | BPF_B, mark, 0, block_trace_head_bytes, 1);
    a.go_if(BPF_JGE, first, last, done);
    a.math_with(BPF_ADD, first, 1);
    a.math_with(BPF_ADD, turns, 1);
    a.go_if_with(BPF_JLT, turns, block_trace_regions_max, next);
    a.here(lost);
    a.put(BPF_ST | BPF_MEM | BPF_B, value, 0, 0, 1);
    a.here(done);
    a.math_with(BPF_MOV, BPF_REG_0, 0);  // Nothing for perf to keep.
    a.put(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    return a.finish();
}

}  // namespace cw::agent
