// Settings files. Whatever is accepted keeps the bounds of its table and can be shown.
#include "base/assert.h"
#include "base/bytes.h"
#include "config/settings.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace cw::config;
    const std::string_view text = cw::as_text({reinterpret_cast<const std::byte*>(data), size});
    if (const auto settings = parse_settings(text, "fuzz.toml")) {
        CW_ASSERT(!explain_settings(*settings).empty());
        CW_ASSERT(check_reload(*settings, *settings).has_value());
        static_cast<void>(check_reload(default_settings(), *settings));
        for (const BandwidthWindow& window : settings->egress_schedule) {
            CW_ASSERT(window.from_minute <= 24 * 60 && window.to_minute <= 24 * 60);
        }
    }
    if (const auto bytes = parse_bytes(text)) {
        CW_ASSERT(!format_bytes(*bytes).empty());
    }
    static_cast<void>(parse_duration_ms(text));
    static_cast<void>(parse_rate(text));
    return 0;
}
