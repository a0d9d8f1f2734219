#include "appliance/enrolment/token_book.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>

namespace cw::appliance {
namespace {

constexpr std::size_t book_bytes_max = 64 * mib;

Sha256 hash_of(const TokenSecret& secret) {
    Sha256Stream hash;
    hash.update(as_bytes("causeway enrolment token"));
    hash.update(secret);
    return hash.finish();
}

std::unexpected<Error> refused(const char* why) {
    return fail(Errc::token_refused, why);
}

}  // namespace

Result<void> TokenBook::load() {
    const auto bytes = read_file(disk_, path_, book_bytes_max);
    if (!bytes) {
        return bytes.error().code == Errc::not_found ? Result<void>{}
                                                     : std::unexpected(bytes.error());
    }
    auto entries = parse_token_book(as_text(*bytes));
    if (!entries) {
        return fail(Errc::config_invalid, path_ + ": " + entries.error().detail +
                                              "; remove the file, and every token with it");
    }
    entries_ = std::move(*entries);
    return {};
}

// What could not be written is not true either.
Result<void> TokenBook::store(std::vector<TokenEntry> entries) {
    CW_TRY(write_file_atomically(disk_, path_, as_bytes(format_token_book(entries))));
    entries_ = std::move(entries);
    return {};
}

std::vector<TokenEntry> TokenBook::list(std::int64_t now_s) const {
    std::vector<TokenEntry> entries = entries_;
    std::erase_if(entries, [&](const TokenEntry& entry) { return entry.expires_s <= now_s; });
    return entries;
}

Result<Secret<TokenSecret>> TokenBook::issue(const TokenTerms& terms, std::int64_t now_s) {
    if (terms.uses < 1 || terms.uses > (terms.machine ? 1 : uses_max)) {
        return fail(Errc::usage, terms.machine ? "a token for one machine has one use"
                                               : "a token has 1 to 1000 uses");
    }
    if (terms.ttl_s < ttl_s_min || terms.ttl_s > ttl_s_max) {
        return fail(Errc::usage, "a token is good for 1 minute to 5 days");
    }
    std::vector<TokenEntry> entries = list(now_s);
    if (entries.size() >= tokens_max) {
        return fail(Errc::usage, "too many tokens are about: revoke some");
    }
    TokenSecret secret;
    random_.fill(secret);
    entries.push_back({hash_of(secret), now_s + terms.ttl_s, terms.uses, terms.machine, {}});
    CW_TRY(store(std::move(entries)));
    return Secret(secret);
}

Result<MachineId> TokenBook::redeem(const TokenSecret& secret, const Sha256& key,
                                    const std::optional<MachineId>& known, std::int64_t now_s) {
    const Sha256 hash = hash_of(secret);
    std::vector<TokenEntry> entries = entries_;
    TokenEntry* entry = nullptr;
    for (TokenEntry& each : entries) {  // All of them, always: time tells nothing.
        entry = equal_constant_time(each.hash, hash) ? &each : entry;
    }
    if (entry == nullptr) {
        return refused("no such token");
    }
    if (entry->expires_s <= now_s) {
        return refused("its time is over");
    }
    for (const TokenGrant& grant : entry->grants) {
        if (grant.key == key) {
            return grant.machine;
        }
    }
    if (entry->grants.size() >= entry->uses) {
        return refused("it is used up");
    }
    if (known && entry->machine != known) {
        return fail(Errc::token_refused, "it is not for machine " + to_string(*known) +
                                             ": causeway enrol-token --machine " +
                                             to_string(*known));
    }
    const MachineId machine = entry->machine ? *entry->machine : make_id<MachineId>(random_);
    entry->grants.push_back({key, machine});
    CW_TRY(store(std::move(entries)));
    return machine;
}

Result<void> TokenBook::revoke(std::string_view id) {
    std::vector<TokenEntry> entries = entries_;
    if (std::erase_if(entries, [&](const TokenEntry& entry) { return entry.id() == id; }) == 0) {
        return fail(Errc::not_found, "no token " + escape_for_display(id, 40));
    }
    return store(std::move(entries));
}

}  // namespace cw::appliance
