// Key files: digits, or a recovery kit as a person typed it; and what such a key is asked to
// unwrap.
#include "base/assert.h"
#include "egress/vault/keys.h"
#include "egress/vault/recovery_kit.h"
#include "tests/fuzz/damaged_file.h"

namespace {

using namespace cw;

void check_text(std::string_view text) {
    const auto key = vault::parse_kek_text(text);
    if (!key) {
        CW_ASSERT(key.error().code == Errc::key_unavailable);
        return;
    }
    const auto again = vault::parse_kek_text(vault::kit_lines(*key).reveal());
    CW_ASSERT(again && again->reveal() == key->reveal());
}

// The input as a file, and as an object that somebody says was wrapped by the key.
void check_file(Bytes bytes) {
    fakes::SimStorage storage(1);
    const auto disk = storage.make_disk();
    const auto random = make_seeded_random(1);
    CW_ASSERT(disk->create_directories("/keys").has_value());
    fuzz::put_file(*disk, "/keys/given", bytes);
    const auto given = vault::open_kek_file(*disk, "/keys/given", *random);
    CW_ASSERT(given || given.error().code == Errc::key_unavailable);
    CW_ASSERT(!vault::open_kek_file(*disk, "/keys/none", *random));
    CW_ASSERT(!vault::open_kek_file(*disk, "/", *random));  // A real place, which others may read.

    CW_ASSERT(vault::create_kek_file(*disk, "/keys/made", *random).has_value());
    CW_ASSERT(!vault::create_kek_file(*disk, "/keys/made", *random));
    const auto made = vault::open_kek_file(*disk, "/keys/made", *random);
    CW_ASSERT(made && !(*made)->unwrap(bytes, {}));
    auto wrapped = (*made)->wrap(bytes, bytes);
    CW_ASSERT(wrapped.has_value());
    const auto back = (*made)->unwrap(*wrapped, bytes);
    CW_ASSERT(back && std::ranges::equal(*back, bytes));
    if (!bytes.empty()) {
        CW_ASSERT(!(*made)->unwrap(*wrapped, bytes.subspan(1)));
        const std::size_t at = std::to_integer<std::size_t>(bytes[0]) % wrapped->size();
        (*wrapped)[at] ^= std::byte{1};
        CW_ASSERT(!(*made)->unwrap(*wrapped, bytes));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes{reinterpret_cast<const std::byte*>(data), size};
    check_text(as_text(bytes));
    check_file(bytes);
    return 0;
}
