#include "egress/blob/authorizer.h"

#include "base/log.h"
#include "egress/blob/azure_sign.h"

#include <algorithm>
#include <mutex>

namespace cw::blob {
namespace {

constexpr std::int64_t retry_first_ns = ns_per_s, retry_most_ns = 30 * ns_per_s;

// Credentials that never change while the process runs.
class FixedAuthorizer : public Authorizer {
public:
    State state(Nanos) override { return State::usable; }
    Error failure() override { return {Errc::blob_auth, {}}; }
    bool reject(std::uint64_t) override { return false; }
    std::unique_ptr<TokenAttempt> begin_refresh(Nanos) override { return nullptr; }
    void end_refresh(Result<Token>, Nanos) override {}
};

class SharedKeyAuthorizer final : public FixedAuthorizer {
public:
    SharedKeyAuthorizer(std::string account, Secret<std::string> key)
        : account_(std::move(account)), key_(std::move(key)) {}
    std::uint64_t sign(HttpRequest& request) override {
        request.authorization = Secret<std::string>(
            shared_key_authorization(request, account_, as_bytes(key_.reveal())));
        return 0;
    }

private:
    const std::string account_;
    const Secret<std::string> key_;
};

class SasAuthorizer final : public FixedAuthorizer {
public:
    explicit SasAuthorizer(Secret<std::string> sas) : sas_(std::move(sas)) {}
    std::uint64_t sign(HttpRequest& request) override {
        request.sas = sas_.clone();
        return 0;
    }

private:
    const Secret<std::string> sas_;
};

class FixedTokenAuthorizer final : public FixedAuthorizer {
public:
    explicit FixedTokenAuthorizer(Secret<std::string> token) : token_(std::move(token)) {}
    std::uint64_t sign(HttpRequest& request) override {
        request.authorization = Secret<std::string>("Bearer " + token_.reveal());
        return 0;
    }

private:
    const Secret<std::string> token_;
};

class BearerAuthorizer final : public Authorizer {
public:
    explicit BearerAuthorizer(std::unique_ptr<TokenSource> source) : source_(std::move(source)) {}

    State state(Nanos now) override {
        const std::lock_guard guard(mutex_);
        if (usable(now)) {
            return State::usable;
        }
        // Before its pause is over a failed refresh is an answer, not something to wait for.
        return !refreshing_ && failure_ && now < retry_at_ ? State::failed : State::waiting;
    }
    Error failure() override {
        const std::lock_guard guard(mutex_);
        return failure_.value_or(Error{Errc::blob_auth, "no token yet"});
    }
    std::uint64_t sign(HttpRequest& request) override {
        const std::lock_guard guard(mutex_);
        request.authorization = Secret<std::string>("Bearer " + token_.value.reveal());
        return generation_;
    }
    bool reject(std::uint64_t credential) override {
        const std::lock_guard guard(mutex_);
        if (credential == generation_) {
            rejected_ = true;
        }
        return true;
    }
    std::unique_ptr<TokenAttempt> begin_refresh(Nanos now) override {
        const std::lock_guard guard(mutex_);
        const bool due = generation_ == 0 || rejected_ || now >= token_.refresh;
        if (refreshing_ || !due || now < retry_at_) {
            return nullptr;
        }
        refreshing_ = true;
        return source_->begin();
    }
    void end_refresh(Result<Token> token, Nanos now) override {
        const std::lock_guard guard(mutex_);
        refreshing_ = false;
        if (token) {
            token_ = std::move(*token);
            ++generation_;
            rejected_ = false;
            failure_.reset();
            pause_ns_ = retry_first_ns;
            // A token refused as soon as it comes must not turn into a stream of requests.
            retry_at_ = now + retry_first_ns;
            return;
        }
        log_warning("blob.token.refresh_failed", {{"error", token.error()}});
        failure_ = std::move(token).error();
        retry_at_ = now + pause_ns_;
        pause_ns_ = std::min(2 * pause_ns_, retry_most_ns);
    }

private:
    [[nodiscard]] bool usable(Nanos now) const {
        return generation_ > 0 && !rejected_ && now < token_.expires;
    }

    std::mutex mutex_;
    const std::unique_ptr<TokenSource> source_;
    Token token_;
    std::uint64_t generation_ = 0;  // Counts tokens; 0: none yet.
    bool rejected_ = false;
    bool refreshing_ = false;
    std::optional<Error> failure_;
    Nanos retry_at_{0};
    std::int64_t pause_ns_ = retry_first_ns;
};

}  // namespace

std::unique_ptr<Authorizer> make_shared_key_authorizer(std::string account,
                                                       Secret<std::string> key) {
    return std::make_unique<SharedKeyAuthorizer>(std::move(account), std::move(key));
}

std::unique_ptr<Authorizer> make_sas_authorizer(Secret<std::string> sas) {
    if (sas.reveal().starts_with('?')) {
        return std::make_unique<SasAuthorizer>(Secret<std::string>(sas.reveal().substr(1)));
    }
    return std::make_unique<SasAuthorizer>(std::move(sas));
}

std::unique_ptr<Authorizer> make_bearer_authorizer(std::unique_ptr<TokenSource> source) {
    return std::make_unique<BearerAuthorizer>(std::move(source));
}

std::unique_ptr<Authorizer> make_fixed_token_authorizer(Secret<std::string> token) {
    return std::make_unique<FixedTokenAuthorizer>(std::move(token));
}

}  // namespace cw::blob
