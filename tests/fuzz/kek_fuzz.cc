// Key files: digits, or a recovery kit as a person typed it.
#include "base/assert.h"
#include "egress/vault/recovery_kit.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = cw::as_text({reinterpret_cast<const std::byte*>(data), size});
    const auto key = cw::vault::parse_kek_text(text);
    if (!key) {
        CW_ASSERT(key.error().code == cw::Errc::key_unavailable);
        return 0;
    }
    const auto again = cw::vault::parse_kek_text(cw::vault::kit_lines(*key).reveal());
    CW_ASSERT(again && again->reveal() == key->reveal());
    return 0;
}
