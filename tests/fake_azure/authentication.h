// Who may send which request: SharedKey, SAS and bearer tokens, refused as the service refuses
// them.
//
// Written from the rules, not from the client's code: a mistake in either shows.
#pragma once

#include "tests/fake_azure/message.h"

#include <map>
#include <mutex>

namespace cw::fake_azure {

// What a request needs: SAS permission letters of which one suffices, and the kind of resource.
struct Demand {
    std::string_view permissions;  // "rl" = r or l
    char resource_type = 'o';      // s, c or o
};

// Thread-safe.
class Authentication {
public:
    Authentication(std::string account, std::string key_base64);

    // Nothing: let it pass. `now_s`: Unix seconds.
    std::optional<Reply> check(const Request& request, Demand demand, std::int64_t now_s);

    // A new bearer token. Tokens end by time or by revoke_tokens().
    std::string issue_token(std::int64_t expires_s);
    void revoke_tokens();
    std::uint64_t issue_count();

    [[nodiscard]] const std::string& account() const noexcept { return account_; }
    [[nodiscard]] Bytes key() const noexcept { return key_; }

private:
    [[nodiscard]] std::optional<Reply> check_shared_key(const Request& request,
                                                        std::string_view credential,
                                                        std::int64_t now_s) const;
    [[nodiscard]] std::optional<Reply> check_sas(const Request& request, Demand demand,
                                                 std::int64_t now_s) const;
    std::optional<Reply> check_bearer(const Request& request, const std::string& token,
                                      std::int64_t now_s);
    [[nodiscard]] bool signature_matches(const Request& request) const;

    std::string account_;
    ByteVector key_;
    std::mutex mutex_;
    std::map<std::string, std::int64_t> tokens_;  // Token to end, Unix seconds.
    std::uint64_t issued_ = 0;
};

}  // namespace cw::fake_azure
