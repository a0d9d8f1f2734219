#include "agent/hints/block_hints.h"

#include "base/bytes.h"

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace cw::agent {
namespace {

// A byte of the kernel's memory each: 16 MiB at most.
constexpr std::uint64_t regions_max = 16 * 1024 * 1024;
constexpr unsigned region_shift_min = std::countr_zero(map_block_bytes / sector_bytes);

int bpf(int command, bpf_attr& attributes) {
    return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

std::uint64_t address(const void* memory) {
    return reinterpret_cast<std::uintptr_t>(memory);
}

Error missing(const std::string& what, int error) {
    return {Errc::io_error, what + ": " + std::strerror(error)};
}

std::optional<std::string> text_in(const std::string& path) {
    std::ifstream in(path);
    if (!in) {
        return std::nullopt;
    }
    return std::string(std::istreambuf_iterator<char>(in), {});
}

bool is_directory(const std::string& path) {
    struct stat st{};
    return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

std::uint64_t number_in(const std::string& path) {
    std::ifstream in(path);
    std::uint64_t number = 0;
    return in >> number ? number : 0;
}

Result<std::string> tracepoint_directory(const std::string& tracepoint) {
    for (const char* root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
        std::string path = std::string(root) + "/events/block/" + tracepoint;
        if (is_directory(path)) {
            return path;
        }
    }
    return fail(Errc::not_found,
                "no tracepoint block:" + tracepoint + " in /sys/kernel/tracing (tracefs)");
}

}  // namespace

Result<WatchedDevice> watched_device(const std::string& device_path) {
    struct stat st{};
    if (::stat(device_path.c_str(), &st) != 0) {
        return fail_errno(Errc::not_found, device_path, errno);
    }
    if (!S_ISBLK(st.st_mode)) {
        return fail(Errc::not_found, device_path + " is not a block device");
    }
    const std::string number =
        std::to_string(major(st.st_rdev)) + ":" + std::to_string(minor(st.st_rdev));
    const std::string own = "/sys/dev/block/" + number;
    const bool partition = text_in(own + "/partition").has_value();
    const std::string whole = own + (partition ? "/.." : "");
    if (!is_directory(whole + "/mq")) {
        return fail(Errc::not_found, device_path +
                                         " takes no requests of its own (device "
                                         "mapper, md): hints are of what lies below");
    }
    WatchedDevice device;
    device.sectors = number_in(own + "/size");
    device.first_sector = partition ? number_in(own + "/start") : 0;
    unsigned whole_major = 0, whole_minor = 0;
    char colon = 0;
    std::ifstream in(whole + "/dev");
    if (!(in >> whole_major >> colon >> whole_minor) || device.sectors == 0) {
        return fail(Errc::not_found, "the kernel does not say what " + device_path + " is");
    }
    device.device = whole_major << 20 | whole_minor;
    device.region_shift = region_shift_min;
    while (device.regions() > regions_max) {
        ++device.region_shift;
    }
    return device;
}

Result<std::unique_ptr<BlockHints>> BlockHints::open(const std::string& device_path) {
    std::unique_ptr<BlockHints> hints(new BlockHints);
    CW_TRY_ASSIGN(hints->device_, watched_device(device_path));
    CW_TRY(hints->map_memory());
    for (const char* tracepoint : {"block_rq_issue", "block_rq_complete"}) {
        CW_TRY(hints->attach(tracepoint));
    }
    return hints;
}

BlockHints::~BlockHints() {
    if (!words_.empty()) {
        ::munmap(words_.data(), words_.size_bytes());
    }
}

Result<void> BlockHints::map_memory() {
    const auto bytes = static_cast<std::uint32_t>(
        align_up(block_trace_head_bytes + device_.regions(), block_bytes));
    bpf_attr wanted{};
    wanted.map_type = BPF_MAP_TYPE_ARRAY;
    wanted.key_size = sizeof(std::uint32_t);
    wanted.value_size = bytes;
    wanted.max_entries = 1;
    wanted.map_flags = BPF_F_MMAPABLE;
    map_ = Fd(bpf(BPF_MAP_CREATE, wanted));
    if (!map_.valid()) {
        return std::unexpected(missing("BPF map (needs CAP_BPF)", errno));
    }
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_.get(), 0);
    if (memory == MAP_FAILED) {
        return std::unexpected(missing("memory of the BPF map", errno));
    }
    words_ = {static_cast<std::uint64_t*>(memory), bytes / sizeof(std::uint64_t)};
    return {};
}

Result<void> BlockHints::attach(const std::string& tracepoint) {
    CW_TRY_ASSIGN(const std::string directory, tracepoint_directory(tracepoint));
    const auto text = text_in(directory + "/format");
    const std::uint64_t id = number_in(directory + "/id");
    if (!text || id == 0) {
        return fail(Errc::not_found, directory + " cannot be read");
    }
    CW_TRY_ASSIGN(const BlockTraceFormat format, parse_block_trace_format(*text));
    const auto program = block_trace_program(format, device_, map_.get());
    static constexpr char license[] = "Apache-2.0";  // No helper that asks for another one is used.
    bpf_attr wanted{};
    wanted.prog_type = BPF_PROG_TYPE_TRACEPOINT;
    wanted.insns = address(program.data());
    wanted.insn_cnt = static_cast<std::uint32_t>(program.size());
    wanted.license = address(license);
    Fd loaded(bpf(BPF_PROG_LOAD, wanted));
    if (!loaded.valid()) {
        return std::unexpected(missing("BPF program (needs CAP_BPF and CAP_PERFMON)", errno));
    }
    perf_event_attr event{};
    event.size = sizeof event;
    event.type = PERF_TYPE_TRACEPOINT;
    event.config = id;
    event.sample_period = 1;
    // One processor is enough: a program at a tracepoint runs on all of them.
    Fd opened(
        static_cast<int>(::syscall(SYS_perf_event_open, &event, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!opened.valid()) {
        return std::unexpected(missing("tracepoint (needs CAP_PERFMON)", errno));
    }
    if (::ioctl(opened.get(), PERF_EVENT_IOC_SET_BPF, loaded.get()) != 0 ||
        ::ioctl(opened.get(), PERF_EVENT_IOC_ENABLE, 0) != 0) {
        return std::unexpected(missing("BPF program at block:" + tracepoint, errno));
    }
    attached_.push_back(std::move(loaded));
    attached_.push_back(std::move(opened));
    return {};
}

DirtyHints::Taken BlockHints::take() {
    constexpr std::size_t head_words = block_trace_head_bytes / sizeof(std::uint64_t);
    Taken taken;
    for (std::size_t at = head_words; at < words_.size(); ++at) {
        const std::atomic_ref word(words_[at]);
        if (word.load(std::memory_order_relaxed) == 0) {
            continue;
        }
        // A mark that comes meanwhile is either in what is taken or stays.
        const auto marks = std::bit_cast<std::array<std::uint8_t, 8>>(word.exchange(0));
        for (std::size_t i = 0; i < marks.size(); ++i) {
            const std::uint64_t region = (at - head_words) * marks.size() + i;
            if (marks[i] != 0 && region < device_.regions()) {
                const std::uint64_t from = region * region_bytes();
                const std::uint64_t size = device_.sectors * sector_bytes;
                taken.blocks.add_range(from, std::min(region_bytes(), size - from));
            }
        }
    }
    taken.complete = std::atomic_ref(words_[0]).exchange(0) == 0;
    return taken;
}

}  // namespace cw::agent
