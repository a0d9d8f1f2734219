// Everything in base/ that reads text from outside.
#include "base/assert.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/net.h"
#include "base/revocation.h"
#include "base/tls.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const cw::Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    const std::string_view text = cw::as_text(bytes);

    const std::string shown = cw::escape_for_display(text, 200);
    CW_ASSERT(shown.size() <= 203);
    CW_ASSERT(shown.find_first_of("\n\r\x1b\"") == std::string::npos);
    CW_ASSERT(cw::escape_for_display(shown).size() >= shown.size());

    CW_ASSERT(cw::from_hex(cw::to_hex(bytes)) == cw::ByteVector(bytes.begin(), bytes.end()));
    CW_ASSERT(cw::from_base64(cw::to_base64(bytes)) == cw::ByteVector(bytes.begin(), bytes.end()));
    static_cast<void>(cw::from_hex(text));
    static_cast<void>(cw::from_base64(text));

    if (const auto id = cw::parse_id<cw::MachineId>(text)) {
        CW_ASSERT(cw::parse_id<cw::MachineId>(to_string(*id)) == *id);
    }
    if (const auto identity = cw::parse_identity(text)) {
        CW_ASSERT(cw::parse_identity(to_string(*identity)) == *identity);
    }
    cw::RevocationList revoked;
    CW_ASSERT(revoked.parse(text, "fuzz") || revoked.generation() == 0);  // All of it, or nothing.
    if (const auto address = cw::parse_host_port(text)) {
        const auto again = cw::parse_host_port(to_string(*address));
        CW_ASSERT(again && again->host == address->host && again->port == address->port);
    }
    return 0;
}
