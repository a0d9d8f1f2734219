// TokenBook: the enrolment tokens that this server has given out, by their hashes, in one file.
//
// A use is spent durably before its certificate exists. The same key may come again with its token:
// it is the same machine, which did not hear the answer, and nothing more is spent. A token is good
// until its time is over; who may have a bound one is one machine for ever.
//
// Thread-safety: none; its owner locks.
#pragma once

#include "base/clock.h"
#include "base/disk.h"
#include "base/enrolment.h"
#include "base/ids.h"
#include "base/random.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cw::appliance {

struct TokenTerms {
    std::uint32_t uses = 1;              // 1 … TokenBook::uses_max; 1 for a bound one
    std::int64_t ttl_s = 24 * 3600;      // 1 minute … 5 days
    std::optional<MachineId> machine{};  // Bound: enrols this machine again, and no other.
};

struct TokenGrant {
    Sha256 key;  // request_key_digest()
    MachineId machine;
};

struct TokenEntry {
    Sha256 hash{};
    std::int64_t expires_s = 0;  // Wall clock.
    std::uint32_t uses = 0;      // In all; grants.size() of them are spent.
    std::optional<MachineId> machine;
    std::vector<TokenGrant> grants;
    [[nodiscard]] std::string id() const { return to_hex(hash).substr(0, 12); }  // For people.
};

// The file's text form. Errors: config_invalid (naming the line).
Result<std::vector<TokenEntry>> parse_token_book(std::string_view text);
std::string format_token_book(const std::vector<TokenEntry>& entries);

class TokenBook {
public:
    TokenBook(Disk& disk, Random& random, std::string path)
        : disk_(disk), random_(random), path_(std::move(path)) {}
    // A missing file is an empty book. Errors: config_invalid, io_error.
    Result<void> load();

    // Errors: usage (terms out of range, too many tokens), io_error.
    Result<Secret<TokenSecret>> issue(const TokenTerms& terms, std::int64_t now_s);
    // Which machine the key is for. `known`: who it says it was before; a token that is not bound
    // to that one would make another machine of it. Errors: token_refused, io_error.
    Result<MachineId> redeem(const TokenSecret& secret, const Sha256& key,
                             const std::optional<MachineId>& known, std::int64_t now_s);
    // Errors: not_found, io_error.
    Result<void> revoke(std::string_view id);
    // Those whose time is not over.
    [[nodiscard]] std::vector<TokenEntry> list(std::int64_t now_s) const;

    static constexpr std::uint32_t uses_max = 1000;
    static constexpr std::size_t tokens_max = 256;
    static constexpr std::int64_t ttl_s_min = 60, ttl_s_max = 5 * 24 * 3600;

private:
    Result<void> store(std::vector<TokenEntry> entries);

    Disk& disk_;
    Random& random_;
    const std::string path_;
    std::vector<TokenEntry> entries_;
};

}  // namespace cw::appliance
