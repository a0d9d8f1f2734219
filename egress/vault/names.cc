#include "egress/vault/names.h"

#include "base/crypto.h"

#include <charconv>
#include <string_view>

namespace cw::vault {
namespace {

using blob::BlobName;
using blob::Container;

constexpr std::size_t hex64_digits = 16, attempt_digits = 32, manifest_digits = 20;

std::string hex64(std::uint64_t value) {
    std::array<std::byte, 8> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(value >> (56 - 8 * i));
    }
    return to_hex(bytes);
}

// Spreads the machines and disks of a vault over the store's partitions.
std::string spread_prefix(const MachineId& machine, const DiskId& disk) {
    ByteVector both(machine.bytes.begin(), machine.bytes.end());
    both.insert(both.end(), disk.bytes.begin(), disk.bytes.end());
    return to_hex(sha256(both)).substr(0, 3);
}

bool lower_hex(std::string_view text) {
    return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Exactly `digits` digits of `base` (10 or 16, lower case).
Result<std::uint64_t> parse_number(std::string_view text, std::size_t digits, int base) {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    if (text.size() != digits || !lower_hex(text)) {
        return fail(Errc::blob_rejected, "a number in the name has the wrong form");
    }
    const auto parsed = std::from_chars(text.data(), end, value, base);
    if (parsed.ec != std::errc{} || parsed.ptr != end) {
        return fail(Errc::blob_rejected, "a number in the name is out of range");
    }
    return value;
}

template <typename Id>
Result<Id> parse_name_id(std::string_view text) {
    auto id = parse_id<Id>(text);
    if (!id || to_string(*id) != text) {  // One spelling per id, so one name per object.
        return fail(Errc::blob_rejected, "an id in the name has the wrong form");
    }
    return *id;
}

// Cuts `text` at the next `separator`; the rest stays in `text`.
Result<std::string_view> cut(std::string_view& text, char separator) {
    const auto at = text.find(separator);
    if (at == std::string_view::npos) {
        return fail(Errc::blob_rejected, "the name has too few parts");
    }
    const std::string_view part = text.substr(0, at);
    text.remove_prefix(at + 1);
    return part;
}

}  // namespace

BlobName segment_blob(const SegmentName& name) {
    return {Container::data, spread_prefix(name.machine, name.disk) + '/' +
                                 to_string(name.machine) + '/' + to_string(name.disk) + '/' +
                                 hex64(raw(name.generation)) + '-' + hex64(raw(name.epoch)) + '-' +
                                 hex64(raw(name.first_seq)) + '-' + to_hex(name.attempt)};
}

Result<SegmentName> parse_segment_blob(const BlobName& blob) {
    if (blob.container != Container::data) {
        return fail(Errc::blob_rejected, to_string(blob) + " is not in the container of segments");
    }
    std::string_view rest = blob.name;
    SegmentName name;
    CW_TRY(cut(rest, '/'));
    CW_TRY_ASSIGN(const std::string_view machine, cut(rest, '/'));
    CW_TRY_ASSIGN(name.machine, parse_name_id<MachineId>(machine));
    CW_TRY_ASSIGN(const std::string_view disk, cut(rest, '/'));
    CW_TRY_ASSIGN(name.disk, parse_name_id<DiskId>(disk));
    CW_TRY_ASSIGN(const std::string_view generation, cut(rest, '-'));
    CW_TRY_ASSIGN(const std::uint64_t generation_raw, parse_number(generation, hex64_digits, 16));
    CW_TRY_ASSIGN(const std::string_view epoch, cut(rest, '-'));
    CW_TRY_ASSIGN(const std::uint64_t epoch_raw, parse_number(epoch, hex64_digits, 16));
    CW_TRY_ASSIGN(const std::string_view first, cut(rest, '-'));
    CW_TRY_ASSIGN(const std::uint64_t first_raw, parse_number(first, hex64_digits, 16));
    if (rest.size() != attempt_digits || !lower_hex(rest)) {
        return fail(Errc::blob_rejected, "the attempt in the name has the wrong form");
    }
    CW_TRY_ASSIGN(const ByteVector attempt, from_hex(rest));
    std::copy(attempt.begin(), attempt.end(), name.attempt.begin());
    name.generation = Generation{generation_raw};
    name.epoch = Epoch{epoch_raw};
    name.first_seq = Seq{first_raw};
    if (segment_blob(name) != blob) {
        return fail(Errc::blob_rejected, "the name's prefix does not match its ids");
    }
    return name;
}

BlobName manifest_blob(const MachineId& machine, std::uint64_t number) {
    CW_ASSERT(number >= 1);
    std::string digits = std::to_string(number);
    digits.insert(0, manifest_digits - digits.size(), '0');
    return {Container::manifest, manifest_prefix(machine) + digits};
}

Result<std::uint64_t> parse_manifest_number(const BlobName& blob) {
    std::string_view rest = blob.name;
    CW_TRY_ASSIGN(const std::string_view machine, cut(rest, '/'));
    CW_TRY(parse_name_id<MachineId>(machine));
    CW_TRY_ASSIGN(const std::uint64_t number, parse_number(rest, manifest_digits, 10));
    if (blob.container != Container::manifest || number == 0) {
        return fail(Errc::blob_rejected, to_string(blob) + " is not a manifest's name");
    }
    return number;
}

std::string manifest_prefix(const MachineId& machine) {
    return to_string(machine) + '/';
}

BlobName vault_keys_blob() {
    return {Container::keys, "vault"};
}
BlobName machine_keys_blob(const MachineId& machine) {
    return {Container::keys, to_string(machine)};
}
BlobName head_blob(const MachineId& machine) {
    return {Container::control, to_string(machine) + "/head"};
}
BlobName gc_boundary_blob(const MachineId& machine) {
    return {Container::control, "gc/" + to_string(machine)};
}
}  // namespace cw::vault
