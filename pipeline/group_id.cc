#include "pipeline/group_id.h"

#include "base/assert.h"
#include "base/crypto.h"
#include "base/random.h"

#include <algorithm>
#include <vector>

namespace cw::pipeline {
namespace {

constexpr std::size_t version_at = 6, count_at = 7, variant_at = 8, digest_at = 9, digest_bytes = 4;
constexpr std::byte version_mask{0xf0}, version_8{0x80}, variant_mask{0xc0}, variant{0x80};

using Digest = std::array<std::byte, digest_bytes>;

Digest digest_of(std::span<const MachineId> members) {
    std::vector<MachineId> sorted(members.begin(), members.end());
    std::ranges::sort(sorted);
    ByteVector bytes;
    for (const MachineId& member : sorted) {
        bytes.insert(bytes.end(), member.bytes.begin(), member.bytes.end());
    }
    const Sha256 hash = sha256(bytes);
    Digest digest;
    std::copy_n(hash.begin(), digest.size(), digest.begin());
    return digest;
}

bool has_digest(const GroupId& group, const Digest& digest) {
    return std::equal(digest.begin(), digest.end(), group.bytes.begin() + digest_at);
}

}  // namespace

GroupId make_group_id(std::span<const MachineId> members, Random& random) {
    CW_ASSERT(!members.empty() && members.size() <= group_members_max);
    GroupId group = make_id<GroupId>(random);
    group.bytes[version_at] = (group.bytes[version_at] & ~version_mask) | version_8;
    group.bytes[count_at] = static_cast<std::byte>(members.size());
    group.bytes[variant_at] = (group.bytes[variant_at] & ~variant_mask) | variant;
    const auto digest = digest_of(members);
    std::copy(digest.begin(), digest.end(), group.bytes.begin() + digest_at);
    return group;
}

std::optional<std::size_t> group_member_count(const GroupId& group) noexcept {
    const auto count = static_cast<std::size_t>(group.bytes[count_at]);
    const bool says = (group.bytes[version_at] & version_mask) == version_8 &&
                      (group.bytes[variant_at] & variant_mask) == variant && count > 0;
    return says ? std::optional(count) : std::nullopt;
}

bool are_group_members(const GroupId& group, std::span<const MachineId> members) {
    return group_member_count(group) == members.size() && has_digest(group, digest_of(members));
}

bool same_group_members(const GroupId& a, const GroupId& b) noexcept {
    const auto count = group_member_count(a);
    return count && count == group_member_count(b) &&
           std::equal(a.bytes.begin() + digest_at, a.bytes.begin() + digest_at + digest_bytes,
                      b.bytes.begin() + digest_at);
}

}  // namespace cw::pipeline
