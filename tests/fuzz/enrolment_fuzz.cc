// What strangers bring to be enrolled (token, message, certificate request), and the file in which
// a server keeps its tokens.
#include "appliance/enrolment/token_book.h"
#include "base/assert.h"
#include "base/enrolment.h"
#include "ingest/wire/enrolment.h"

namespace {

// The parser of requests gets the DER itself, so that a changed bit is one there too.
std::string as_pem(cw::Bytes der) {
    const std::string text = cw::to_base64(der);
    std::string pem = "-----BEGIN CERTIFICATE REQUEST-----\n";
    for (std::size_t at = 0; at < text.size(); at += 64) {
        pem += text.substr(at, 64) + '\n';
    }
    return pem + "-----END CERTIFICATE REQUEST-----\n";
}

void messages(std::string_view text) {
    if (const auto request = cw::wire::parse_enrol_request(text)) {
        const auto again = cw::wire::parse_enrol_request(encode(*request).reveal());
        // What is not UTF-8 was replaced, which makes it longer.
        CW_ASSERT(again || encode(*request).reveal().size() > cw::wire::enrol_bytes_max);
        CW_ASSERT(!again || again->machine == request->machine);
    }
    if (const auto answer = cw::wire::parse_enrol_answer(text)) {
        const auto again = cw::wire::parse_enrol_answer(encode(*answer));
        CW_ASSERT(again || encode(*answer).size() > cw::wire::enrol_bytes_max);
        CW_ASSERT(!again || (again->machine == answer->machine &&
                             again->replication_port == answer->replication_port));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const cw::Bytes input(reinterpret_cast<const std::byte*>(data), size);
    const std::string_view text = cw::as_text(input);
    if (const auto token = cw::parse_token(text)) {
        const auto again = cw::parse_token(token_text(*token).reveal());
        CW_ASSERT(again && again->secret.reveal() == token->secret.reveal());
        CW_ASSERT(again->authority == token->authority);
    }
    static_cast<void>(cw::parse_token_secret(text));
    messages(text);
    static_cast<void>(cw::request_key_digest(text));
    const auto key = cw::request_key_digest(as_pem(input));
    CW_ASSERT(key || key.error().code == cw::Errc::usage);
    if (const auto entries = cw::appliance::parse_token_book(text)) {
        const std::string written = cw::appliance::format_token_book(*entries);
        const auto again = cw::appliance::parse_token_book(written);
        CW_ASSERT(again && cw::appliance::format_token_book(*again) == written);
    }
    return 0;
}
