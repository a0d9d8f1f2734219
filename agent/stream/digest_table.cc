#include "agent/stream/digest_table.h"

#include "agent/full_disk.h"
#include "agent/state_format.h"
#include "base/crash_point.h"

namespace cw::agent {
namespace {

constexpr std::size_t row_bytes = DigestTable::blocks_per_super * sizeof(Fingerprint);

std::uint64_t row_offset(std::uint32_t ordinal) {
    return block_bytes + std::uint64_t{ordinal} * row_bytes;
}

Result<FingerprintSecret> read_secret(Bytes head, std::uint64_t size_bytes) {
    ByteReader in(head, Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t version, in.u32());
    CW_TRY_ASSIGN(const std::uint64_t magic, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t size, in.u64());
    CW_TRY_ASSIGN(const auto secret, in.array<fingerprint_secret_bytes>());
    if (head.size() != block_bytes || crc != crc32c(head.subspan(4)) ||
        version != digests_version || magic != digests_magic || size != size_bytes) {
        return fail(Errc::record_corrupt, "digest table header");
    }
    return secret;
}

}  // namespace

Result<DigestTable> DigestTable::open(Disk& disk, Random& random, const std::string& path,
                                      std::uint64_t size_bytes, bool fresh) {
    CW_TRY_ASSIGN(const bool there, disk.exists(path));
    if (there && !fresh) {
        CW_TRY_ASSIGN(auto file, disk.open(path, {.write = true}));
        DigestTable table(disk, path, std::move(file));
        std::array<std::byte, block_bytes> head{};
        CW_TRY_ASSIGN(const std::size_t n, read_at(disk, *table.file_, 0, head));
        if (const auto secret = read_secret(Bytes(head).first(n), size_bytes)) {
            table.secret_ = *secret;
            return table;
        }
    }
    if (there) {
        CW_TRY(disk.remove(path));
    }
    CW_TRY_ASSIGN(auto file, disk.open(path, {.write = true, .create = true}));
    DigestTable table(disk, path, std::move(file));
    const auto rows = static_cast<std::uint32_t>((size_bytes + super_bytes - 1) / super_bytes);
    CW_TRY(name_full_disk(disk.resize(*table.file_, row_offset(rows), true), path));
    random.fill(table.secret_);
    std::array<std::byte, block_bytes> head{};
    ByteWriter out(MutableBytes(head).subspan(4));
    out.u32(digests_version);
    out.u64(digests_magic);
    out.u64(size_bytes);
    out.bytes(table.secret_);
    ByteWriter(head).u32(crc32c(Bytes(head).subspan(4)));
    CW_TRY(table.write(0, head));
    return table;
}

Result<void> DigestTable::load(std::uint32_t ordinal) {
    if (ordinal == ordinal_) {
        return {};
    }
    CW_TRY(store());
    const MutableBytes row{reinterpret_cast<std::byte*>(row_.data()), row_bytes};
    CW_TRY_ASSIGN(const std::size_t n, read_at(*disk_, *file_, row_offset(ordinal), row));
    if (n != row_bytes) {
        return fail(Errc::record_corrupt, "digest table is too short");
    }
    ordinal_ = ordinal;
    return {};
}

bool DigestTable::different(std::size_t index, Bytes block) const {
    return fingerprint(block, secret_) != row_.at(index);
}

void DigestTable::set(std::size_t index, Bytes block) {
    row_.at(index) = fingerprint(block, secret_);
    changed_ = true;
}

Result<void> DigestTable::store() {
    if (!changed_) {
        return {};
    }
    changed_ = false;
    const Bytes row{reinterpret_cast<const std::byte*>(row_.data()), row_bytes};
    CW_TRY(write(row_offset(ordinal_), row));
    CW_CRASH_POINT("agent.digests.stored");
    return {};
}

Result<void> DigestTable::write(std::uint64_t offset, Bytes bytes) {
    return name_full_disk(write_at(*disk_, *file_, offset, bytes, false), path_);
}

}  // namespace cw::agent
