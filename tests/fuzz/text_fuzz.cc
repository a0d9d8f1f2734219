// Everything in base/ that reads text from outside.
#include "base/assert.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/net.h"
#include "base/revocation.h"
#include "base/tls.h"
#include "tests/fuzz/damaged_file.h"

#include <algorithm>
#include <memory>

#include <openssl/x509.h>

namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Certificate certificate_of(cw::Bytes der) {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    return {d2i_X509(nullptr, &at, static_cast<long>(der.size())), X509_free};
}

void check_revocation(std::string_view text) {
    cw::RevocationList revoked;
    const bool sound = revoked.parse(text, "fuzz").has_value();
    CW_ASSERT(sound || revoked.generation() == 0);  // All of it, or nothing.
    const auto generation = revoked.generation();
    CW_ASSERT(revoked.parse(text, "fuzz").has_value() == sound);
    CW_ASSERT(revoked.generation() == generation);  // The same again is no change.

    cw::fakes::SimStorage storage(1);
    const auto disk = storage.make_disk();
    CW_ASSERT(disk->create_directories("/site").has_value());
    cw::fuzz::put_file(*disk, "/site/revoked", cw::as_bytes(text));
    CW_ASSERT(revoked.reload(*disk, "/site/revoked").has_value() == sound);
    CW_ASSERT(!revoked.reload(*disk, "/site/none"));
    CW_ASSERT(revoked.generation() == generation && revoked.reload(*disk, "").has_value());
    const auto of_file = cw::serial_of_file(*disk, "/site/revoked");
    CW_ASSERT(of_file || of_file.error().code == cw::Errc::tls_failed);
}

// A certificate that anybody may have made: what a list says of its number or identity counts.
void check_certificate(cw::Bytes der) {
    const Certificate certificate = certificate_of(der);
    if (!certificate) {
        return;
    }
    cw::RevocationList revoked;
    CW_ASSERT(!revoked.revoked(certificate.get()));
    const std::string serial = cw::serial_of(certificate.get());
    if (!serial.empty() && revoked.parse(serial, "fuzz")) {
        CW_ASSERT(revoked.revoked(certificate.get()));
    }
    CW_ASSERT(revoked.parse("urn:causeway:machine:00000000-0000-4000-8000-000000000000", "fuzz"));
    const bool named = cw::as_text(der).contains("00000000-0000-4000-8000-000000000000");
    CW_ASSERT(!revoked.revoked(certificate.get()) || named);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const cw::Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    const std::string_view text = cw::as_text(bytes);

    const std::string shown = cw::escape_for_display(text, 200);
    CW_ASSERT(shown.size() <= 203);
    CW_ASSERT(shown.find_first_of("\n\r\x1b") == std::string::npos);
    CW_ASSERT(cw::escape_for_display(shown).size() >= shown.size());
    const std::string field = cw::LogField("k", text).value();
    const auto quotes = static_cast<std::size_t>(std::ranges::count(field, '"'));
    CW_ASSERT(quotes == 0 || (quotes == 2 && field.starts_with('"') && field.ends_with('"')));
    CW_ASSERT(field.find_first_of("\n\r\x1b") == std::string::npos);

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
    check_revocation(text);
    check_certificate(bytes);
    if (const auto address = cw::parse_host_port(text)) {
        const auto again = cw::parse_host_port(to_string(*address));
        CW_ASSERT(again && again->host == address->host && again->port == address->port);
    }
    return 0;
}
