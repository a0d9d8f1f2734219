#include "agent/state_format.h"

#include "base/checksum.h"
#include "base/ids.h"

#include <array>

namespace cw::agent {
namespace {

struct Kind {
    std::string_view suffix;
    std::uint64_t magic;
    std::uint32_t known;
};

constexpr std::array kinds{Kind{".map", map_magic, map_version},
                           Kind{".digests", digests_magic, digests_version}};

Result<void> check_file(Disk& disk, const std::string& path, const Kind& kind) {
    CW_TRY_ASSIGN(const auto file, disk.open(path, {}));
    std::array<std::byte, block_bytes> block{};
    CW_TRY_ASSIGN(const std::size_t got, read_at(disk, *file, 0, block));
    if (got != block.size()) {
        return {};
    }
    ByteReader in(block, Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t version, in.u32());
    CW_TRY_ASSIGN(const std::uint64_t magic, in.u64());
    const bool ours = magic == kind.magic && crc == crc32c(Bytes(block).subspan(4));
    return ours && version > kind.known ? std::unexpected(newer_format(path, version, kind.known))
                                        : Result<void>{};
}

}  // namespace

Error newer_format(const std::string& path, std::uint64_t found, std::uint64_t known) {
    return {Errc::format_unsupported,
            path + " has format version " + std::to_string(found) +
                ", and this agent reads up to version " + std::to_string(known) +
                ": start the agent that wrote it, or a newer one. Nothing was changed"};
}

Result<void> check_formats(Disk& disk, const std::string& state_directory) {
    CW_TRY_ASSIGN(const auto names, disk.list(state_directory));
    for (const std::string& name : names) {
        for (const Kind& kind : kinds) {
            if (name.ends_with(kind.suffix)) {
                CW_TRY(check_file(disk, state_directory + "/" + name, kind));
            }
        }
    }
    return {};
}

}  // namespace cw::agent
