// The text of an enrolment token: what a person carries from the server to the machine.
#include "base/bytes.h"
#include "base/enrolment.h"

#include <algorithm>

namespace cw {
namespace {

constexpr std::string_view token_prefix = "cwenrol1-";
constexpr std::size_t secret_digits = 2 * sizeof(TokenSecret), digest_digits = 2 * sizeof(Sha256);

Error malformed() {
    return {Errc::token_refused, "this is not the text of an enrolment token"};
}

}  // namespace

Secret<std::string> token_text(const EnrolmentToken& token) {
    return Secret<std::string>(std::string(token_prefix) + to_hex(token.secret.reveal()) + '-' +
                               to_hex(token.authority));
}

Result<Secret<TokenSecret>> parse_token_secret(std::string_view hex) {
    auto bytes = from_hex(hex);
    if (!bytes || bytes->size() != sizeof(TokenSecret)) {
        return std::unexpected(malformed());
    }
    TokenSecret secret;
    std::copy(bytes->begin(), bytes->end(), secret.begin());
    wipe(*bytes);
    return Secret(secret);
}

Result<EnrolmentToken> parse_token(std::string_view text) {
    constexpr std::string_view space = " \t\r\n";
    const auto begin = std::min(text.find_first_not_of(space), text.size());
    text = text.substr(begin, text.find_last_not_of(space) + 1 - begin);
    if (text.size() != token_prefix.size() + secret_digits + 1 + digest_digits ||
        !text.starts_with(token_prefix)) {
        return std::unexpected(malformed());
    }
    text.remove_prefix(token_prefix.size());
    const auto digest = from_hex(text.substr(secret_digits + 1));
    if (text[secret_digits] != '-' || !digest) {
        return std::unexpected(malformed());
    }
    EnrolmentToken token;
    CW_TRY_ASSIGN(token.secret, parse_token_secret(text.substr(0, secret_digits)));
    std::copy(digest->begin(), digest->end(), token.authority.begin());
    return token;
}

}  // namespace cw
