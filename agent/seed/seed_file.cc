#include "agent/seed/seed_file.h"

#include "agent/child_process.h"
#include "agent/qemu/qemu_image_info.h"
#include "base/full_disk.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <libnbd.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr std::int64_t tool_limit_ns = 60 * ns_per_s;
constexpr int look_ms = 10;
constexpr std::size_t nbd_bytes_max = 1024 * 1024;

std::string driver_of(SeedFormat format) {
    return format == SeedFormat::vhd ? "vpc" : std::string(name_of(format));
}

// Without what its header may name beneath it.
std::string node_of(const SeedFile& file) {
    json node{{"driver", driver_of(file.format)},
              {"file", {{"driver", "file"}, {"filename", file.path}}}};
    if (file.format == SeedFormat::qcow2) {
        node["backing"] = nullptr;
    }
    return "json:" + node.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::unexpected<Error> fail_nbd(Errc code, const std::string& what) {
    const char* const text = ::nbd_get_error();
    return fail(::nbd_get_errno() == ENOSPC ? Errc::disk_full : code,
                what + ": " + (text != nullptr ? text : "unknown NBD error"));
}

Result<void> wait_for(ChildProcess& child, Clock& clock) {
    const Nanos deadline = clock.boot() + tool_limit_ns;
    for (;;) {
        if (auto ended = child.poll()) {
            return *ended;
        }
        if (clock.boot() >= deadline) {
            return fail(Errc::hook_failed, "it does not end");
        }
        ::poll(nullptr, 0, look_ms);
    }
}

// What became of a program that says little.
struct Told {
    Result<void> ended;
    std::string text;
};

std::string first_line(std::string_view text) {
    return std::string(text.substr(0, text.find_first_of("\r\n")));
}

enum class Listen : std::uint8_t { output, errors };

Result<Told> run_tool(const std::vector<std::string>& command, Clock& clock, Listen to) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return fail_errno(Errc::io_error, "pipe", errno);
    }
    const Fd out(ends[0]);
    Fd in(ends[1]);
    ChildProcess::Setting setting;
    (to == Listen::output ? setting.output : setting.errors) = in.get();
    CW_TRY_ASSIGN(ChildProcess child, ChildProcess::start(command, clock, setting));
    Told told{wait_for(child, clock), std::string(64 * kib, '\0')};  // As much as a pipe holds.
    in.reset();
    const ssize_t n = ::read(out.get(), told.text.data(), told.text.size());
    if (n < 0) {
        return fail_errno(Errc::io_error, "output of " + command.front(), errno);
    }
    told.text.resize(static_cast<std::size_t>(n));
    return told;
}

// A header may name any file of this host as the place of its data.
Result<void> check_alone(const SeedFile& file, Clock& clock) {
    CW_TRY_ASSIGN(const Told told, run_tool({"qemu-img", "info", "--output=json", node_of(file)},
                                            clock, Listen::output));
    if (!told.ended) {
        return fail(Errc::source_gone, file.path + " cannot be read as " +
                                           std::string(name_of(file.format)) + ": " +
                                           told.ended.error().detail);
    }
    const auto info = parse_qemu_image_info(told.text);
    if (!info) {
        return fail(info.error().code, file.path + ": " + info.error().detail);
    }
    if (!info->alone) {
        return fail(Errc::target_unsafe, file.path + " has its data in another file");
    }
    return {};
}

class QemuImage final : public BlockImage {
public:
    // The program ends when the connection does, however that comes about.
    static Result<std::unique_ptr<QemuImage>> start(const SeedFile& file, bool write) {
        std::unique_ptr<QemuImage> image(new QemuImage(file.path));
        if (image->nbd_ == nullptr) {
            return fail_nbd(Errc::source_gone, "NBD handle");
        }
        std::string node = node_of(file);
        std::string program = "qemu-nbd", access = write ? "--cache=writeback" : "--read-only";
        std::array<char*, 4> argv{program.data(), access.data(), node.data(), nullptr};
        if (::nbd_connect_systemd_socket_activation(image->nbd_, argv.data()) != 0) {
            return fail_nbd(Errc::source_gone, "qemu-nbd of " + file.path);
        }
        const std::int64_t size = ::nbd_get_size(image->nbd_);
        if (size <= 0 || static_cast<std::uint64_t>(size) % sector_bytes != 0) {
            return fail(Errc::size_mismatch, file.path + " has " + std::to_string(size) +
                                                 " bytes: not a multiple of 512");
        }
        image->size_ = static_cast<std::uint64_t>(size);
        return image;
    }
    ~QemuImage() override {
        if (nbd_ != nullptr) {
            ::nbd_shutdown(nbd_, 0);
            ::nbd_close(nbd_);  // Waits for the program.
        }
    }
    QemuImage(const QemuImage&) = delete;
    QemuImage& operator=(const QemuImage&) = delete;

    std::uint64_t size() const noexcept override { return size_; }
    Result<void> read(std::uint64_t offset, MutableBytes out) override {
        CW_ASSERT(offset <= size_ && out.size() <= size_ - offset);
        while (!out.empty()) {
            const std::size_t step = std::min(out.size(), nbd_bytes_max);
            if (::nbd_pread(nbd_, out.data(), step, offset, 0) != 0) {
                return fail_nbd(Errc::source_gone, "read " + path_);
            }
            out = out.subspan(step);
            offset += step;
        }
        return {};
    }
    Result<void> write(std::uint64_t offset, Bytes bytes) override {
        CW_ASSERT(offset <= size_ && bytes.size() <= size_ - offset);
        while (!bytes.empty()) {
            const std::size_t step = std::min(bytes.size(), nbd_bytes_max);
            if (::nbd_pwrite(nbd_, bytes.data(), step, offset, 0) != 0) {
                return fail_nbd(Errc::io_error, "write " + path_);
            }
            bytes = bytes.subspan(step);
            offset += step;
        }
        return {};
    }
    Result<void> zero(std::uint64_t offset, std::uint64_t length, bool /*unmap*/) override {
        CW_ASSERT(offset <= size_ && length <= size_ - offset);
        return ::nbd_zero(nbd_, length, offset, 0) == 0 ? Result<void>{}
                                                        : fail_nbd(Errc::io_error, "zero " + path_);
    }
    Result<void> flush() override {
        return ::nbd_flush(nbd_, 0) == 0 ? Result<void>{}
                                         : fail_nbd(Errc::io_error, "flush " + path_);
    }
    std::string fingerprint() const override { return {}; }

private:
    explicit QemuImage(std::string path) : nbd_(::nbd_create()), path_(std::move(path)) {}

    nbd_handle* nbd_;
    std::string path_;
    std::uint64_t size_ = 0;
};

}  // namespace

Result<std::unique_ptr<BlockImage>> open_seed_file(const SeedFile& file, Clock& clock) {
    if (file.format == SeedFormat::raw) {
        return open_image(file.path, ImageAccess::read_only);
    }
    if (::access(file.path.c_str(), R_OK) != 0) {
        return fail_errno(errno == ENOENT ? Errc::not_found : Errc::source_gone,
                          "open " + file.path, errno);
    }
    CW_TRY(check_alone(file, clock));
    return QemuImage::start(file, false);
}

Result<std::unique_ptr<BlockImage>> create_seed_file(const SeedFile& file, std::uint64_t size_bytes,
                                                     cw::Disk& disk, Clock& clock) {
    CW_TRY_ASSIGN(const bool there, disk.exists(file.path));
    if (there) {
        CW_TRY(disk.remove(file.path));
    }
    if (file.format == SeedFormat::raw) {
        CW_TRY_ASSIGN(auto made, disk.open(file.path, {.write = true, .create = true}));
        CW_TRY(disk.resize(*made, size_bytes, false));
        made.reset();
        return open_image(file.path, ImageAccess::read_write);
    }
    std::vector<std::string> command{"qemu-img", "create", "-q", "-f", driver_of(file.format)};
    if (file.format == SeedFormat::vhd) {
        command.insert(command.end(), {"-o", "force_size=on"});  // Else rounded up to a geometry.
    }
    command.insert(command.end(), {"--", file.path, std::to_string(size_bytes)});
    CW_TRY_ASSIGN(const Told told, run_tool(command, clock, Listen::errors));
    if (!told.ended) {
        return fail(tells_full_disk(told.text) ? Errc::disk_full : Errc::io_error,
                    "create " + file.path + ": " + told.ended.error().detail + ": " +
                        first_line(told.text));
    }
    return QemuImage::start(file, true);
}

}  // namespace cw::agent
