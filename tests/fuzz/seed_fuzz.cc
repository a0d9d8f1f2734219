// The manifest of a seed, as somebody else's medium may hold it: any bytes, and a valid one with
// patches whose hash is made right on demand. What is read and written again is the same bytes.
#include "agent/seed/seed_manifest.h"
#include "tests/fuzz/damaged_file.h"

namespace {

using namespace cw;
using namespace cw::agent;

ByteVector valid_manifest(std::uint8_t parts) {
    SeedManifest manifest;
    manifest.machine.bytes.fill(std::byte{1});
    manifest.disk.bytes.fill(std::byte{2});
    manifest.size_bytes = std::uint64_t{parts} * seed_part_bytes + sector_bytes;
    manifest.file_bytes = 4096;
    manifest.format = SeedFormat::qcow2;
    manifest.machine_name = "web1";
    manifest.disk_name = "disk";
    manifest.parts.resize(seed_part_count(manifest.size_bytes));
    return encode_seed_manifest(manifest);
}

void repair(ByteVector& file, std::size_t /*at*/) {
    constexpr std::size_t hash_bytes = sizeof(Sha256);
    if (file.size() >= hash_bytes) {
        const Sha256 hash = sha256(Bytes(file).first(file.size() - hash_bytes));
        std::ranges::copy(hash, file.end() - hash_bytes);
    }
}

void check(Bytes bytes) {
    const auto read = decode_seed_manifest(bytes);
    if (!read) {
        CW_ASSERT(read.error().code == Errc::record_corrupt ||
                  read.error().code == Errc::format_unsupported);
        return;
    }
    CW_ASSERT(read->size_bytes % sector_bytes == 0);
    CW_ASSERT(read->parts.size() == seed_part_count(read->size_bytes));
    CW_ASSERT(parse_seed_format(name_of(read->format)).value() == read->format);
    const std::uint64_t last = read->parts.size() - 1;
    CW_ASSERT(last * seed_part_bytes + seed_part_length(read->size_bytes, last) ==
              read->size_bytes);
    const ByteVector again = encode_seed_manifest(*read);
    CW_ASSERT(std::ranges::equal(again, bytes));
    CW_ASSERT(seed_fingerprint(bytes) == sha256(bytes.first(bytes.size() - sizeof(Sha256))));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes input{reinterpret_cast<const std::byte*>(data), size};
    check(input);
    if (const auto format = parse_seed_format(as_text(input))) {
        CW_ASSERT(name_of(*format) == as_text(input));
    }
    ByteReader in{input, Errc::usage};
    const auto parts = in.u8();
    if (parts) {
        check(fuzz::damaged(valid_manifest(*parts % 8), in, repair));
    }
    return 0;
}
