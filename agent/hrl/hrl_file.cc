#include "agent/hrl/hrl_file.h"

#include "base/log.h"

#include <algorithm>
#include <utility>

namespace cw::agent {

std::uint32_t hrl_seconds(WallMicros time) noexcept {
    const std::int64_t s = static_cast<std::int64_t>(time) / 1'000'000 - hrl_epoch_s;
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(s, 0, UINT32_MAX));
}

Result<HrlFile> HrlFile::begin(Disk& disk, std::string part, const HrlHeader& header,
                               WallMicros now) {
    CW_TRY_ASSIGN(const bool left, disk.exists(part));
    if (left) {
        CW_TRY(disk.remove(part));
    }
    HrlFile file(disk, std::move(part));
    CW_TRY_ASSIGN(file.writer_, HrlWriter::create(disk, file.part_, header, hrl_seconds(now)));
    return file;
}

HrlFile::HrlFile(HrlFile&& other) noexcept
    : disk_(other.disk_),
      part_(std::exchange(other.part_, {})),
      writer_(std::move(other.writer_)),
      data_bytes_(other.data_bytes_) {}

HrlFile::~HrlFile() {
    if (part_.empty()) {
        return;
    }
    writer_.reset();
    if (const auto exists = disk_.exists(part_); exists && !*exists) {
        return;  // It could not be made.
    }
    if (const auto removed = disk_.remove(part_); !removed) {
        log_warning("agent.hrl.part", {{"file", part_}, {"error", removed.error()}});
    }
}

Result<void> HrlFile::write(std::uint64_t offset, Bytes data, WallMicros now) {
    data_bytes_ += data.size();
    while (!data.empty()) {
        const Bytes piece = data.first(std::min<std::size_t>(data.size(), mib));
        CW_TRY(writer_->write(offset, piece, hrl_seconds(now)));
        offset += piece.size();
        data = data.subspan(piece.size());
    }
    return {};
}

Result<void> HrlFile::close(WallMicros modified) {
    return writer_->close(hrl_seconds(modified));
}

Result<void> HrlFile::publish(const std::string& path) {
    CW_TRY_ASSIGN(const bool taken, disk_.exists(path));
    if (taken) {
        return fail(Errc::file_exists, path);
    }
    CW_TRY(disk_.rename(part_, path));
    part_.clear();
    const auto slash = path.rfind('/');
    return disk_.sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

}  // namespace cw::agent
