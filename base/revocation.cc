#include "base/revocation.h"

#include "base/assert.h"
#include "base/openssl_handles.h"
#include "base/tls.h"

#include <algorithm>

#include <openssl/bn.h>
#include <openssl/pem.h>

namespace cw {
namespace {

constexpr std::size_t list_bytes_max = 1024 * 1024, pem_bytes_max = 64 * kib;
constexpr std::size_t serial_digits_max = 40;  // 20 bytes, RFC 5280.

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view blank = " \t\r";
    const auto first = text.find_first_not_of(blank);
    if (first == std::string_view::npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

// Serial numbers are compared as numbers: without leading zeros, in lower case.
Result<std::string> canonical_serial(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of('0'), text.size()));
    std::string out(text);
    for (char& c : out) {
        c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    if (out.size() > serial_digits_max ||
        out.find_first_not_of("0123456789abcdef") != std::string::npos) {
        return fail(Errc::config_invalid, "neither a serial number in hexadecimal nor an identity");
    }
    return out;
}

Result<std::string> canonical(std::string_view entry) {
    if (entry.starts_with("urn:")) {
        CW_TRY_ASSIGN(const Identity identity, parse_identity(entry));
        return to_string(identity);
    }
    return canonical_serial(entry);
}

// Every identity that a certificate carries, also one with several, which is refused anyway.
bool names_any(const X509* certificate, const auto& contains) {
    const openssl::GeneralNames names(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
        if (name->type != GEN_URI) {
            continue;
        }
        const ASN1_IA5STRING* const uri = name->d.uniformResourceIdentifier;
        const auto identity =
            parse_identity({reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                            static_cast<std::size_t>(ASN1_STRING_length(uri))});
        if (identity && contains(to_string(*identity))) {
            return true;
        }
    }
    return false;
}

}  // namespace

Result<void> RevocationList::reload(Disk& disk, const std::string& path) {
    if (path.empty()) {
        return parse({}, path);
    }
    CW_TRY_ASSIGN(const ByteVector bytes, read_file(disk, path, list_bytes_max));
    return parse(as_text(bytes), path);
}

Result<void> RevocationList::parse(std::string_view text, const std::string& name) {
    std::set<std::string, std::less<>> entries;
    for (std::size_t line = 1; !text.empty(); ++line) {
        const auto end = text.find('\n');
        const auto entry = trimmed(text.substr(0, std::min(end, text.find('#'))));
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        if (entry.empty()) {
            continue;
        }
        auto sound = canonical(entry);
        if (!sound) {
            return fail(Errc::config_invalid,
                        name + ":" + std::to_string(line) + ": " + sound.error().detail);
        }
        entries.insert(std::move(*sound));
    }
    const std::scoped_lock lock(mutex_);
    if (entries != entries_) {
        entries_ = std::move(entries);
        ++generation_;
    }
    return {};
}

bool RevocationList::revoked(const X509* certificate) const {
    const std::scoped_lock lock(mutex_);
    if (entries_.empty()) {
        return false;
    }
    return entries_.contains(serial_of(certificate)) ||
           names_any(certificate,
                     [this](const std::string& uri) { return entries_.contains(uri); });
}

std::string serial_of(const X509* certificate) {
    const openssl::Number number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
    CW_ASSERT(number != nullptr);
    char* const digits = BN_bn2hex(number.get());
    CW_ASSERT(digits != nullptr);
    const std::string text(digits);
    OPENSSL_free(digits);
    const auto serial = canonical_serial(text);
    return serial ? *serial : text;  // Negative or too long: no list can hold it.
}

Result<std::string> serial_of_file(Disk& disk, const std::string& path) {
    CW_TRY_ASSIGN(const ByteVector pem, read_file(disk, path, pem_bytes_max));
    const openssl::Bio bio = openssl::bio_over(pem);
    const openssl::Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (certificate == nullptr) {
        return std::unexpected(tls_error("reading certificate file " + path));
    }
    return serial_of(certificate.get());
}

}  // namespace cw
