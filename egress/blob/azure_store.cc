#include "egress/blob/azure_store.h"

#include "base/ids.h"
#include "egress/blob/authorizer.h"
#include "egress/blob/azure_calls.h"
#include "egress/blob/azure_errors.h"
#include "egress/blob/common.h"
#include "egress/blob/completion_queue.h"
#include "egress/blob/page_blob.h"

#include <algorithm>
#include <atomic>
#include <map>

namespace cw::blob {
namespace {

constexpr std::int64_t credential_wait_ns = 50 * ns_per_ms;
constexpr std::int64_t quiet_ns_max = 60 * ns_per_s;  // However long the service asks for.
constexpr std::string_view emulator_key =             // Public: every emulator has it.
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

// What the stores of one factory share.
struct AzureVault {
    AzureVault(Clock& c, Random& r) : clock(c), random(r) {}

    AzureWire wire;
    HttpClientOptions http;
    std::size_t concurrency = 1;
    std::unique_ptr<Authorizer> authorizer;
    Clock& clock;
    Random& random;
    // Boot time before which the service asked not to be called (Retry-After).
    std::atomic<std::int64_t> quiet_until_ns = 0;
};

class AzureStore final : public BlobStore {
public:
    explicit AzureStore(std::shared_ptr<AzureVault> vault)
        : vault_(std::move(vault)),
          http_(vault_->http, vault_->clock),
          concurrency_(vault_->concurrency) {}
    ~AzureStore() override {
        if (attempt_) {  // Another store must be able to begin anew.
            vault_->authorizer->end_refresh(fail(Errc::cancelled, "store closed"), now());
        }
    }
    AzureStore(const AzureStore&) = delete;
    AzureStore& operator=(const AzureStore&) = delete;

    void put(PutRequest request, Done<PutResult> done) override {
        auto ok = check_put(request);
        if (ok && !vault_->wire.crc64) {
            ok = check_body(request);
        }
        if (!ok) {
            return finished_.push([done = std::move(done), error = ok.error()] {
                done({PutOutcome::refused, {}, error});
            });
        }
        enqueue(make_put_call(std::move(request), std::move(done)));
    }
    void get(GetRequest request, Done<Result<GetResult>> done) override {
        if (const auto ok = check_get(request); admitted(ok, done)) {
            enqueue(make_get_call(std::move(request), std::move(done)));
        }
    }
    void head(BlobName name, Done<Result<BlobProperties>> done) override {
        if (const auto ok = check_name(name); admitted(ok, done)) {
            enqueue(make_head_call(std::move(name), {}, std::move(done)));
        }
    }
    void list(Container container, std::string prefix, std::string marker,
              Done<Result<ListPage>> done) override {
        if (const auto ok = check_prefix(prefix); admitted(ok, done)) {
            enqueue(
                make_list_call(container, std::move(prefix), std::move(marker), std::move(done)));
        }
    }
    void remove(BlobName name, Done<Result<void>> done) override {
        if (const auto ok = check_name(name); admitted(ok, done)) {
            enqueue(make_remove_call(std::move(name), std::move(done)));
        }
    }
    void create_containers(Done<Result<void>> done) override {
        enqueue(make_create_call(std::move(done)));
    }

    std::size_t poll() override;
    void wait(std::int64_t timeout_ns, int wake_fd) override;
    [[nodiscard]] std::size_t in_flight() const noexcept override {
        return waiting_.size() + sent_.size() + finished_.size();
    }
    void set_concurrency(std::size_t operations) override {
        concurrency_ = std::max<std::size_t>(operations, 1);
    }
    void enqueue(std::unique_ptr<AzureCall> call) {
        waiting_.push_back({std::move(call), uuid_text(make_uuid_bytes(vault_->random))});
        pump();
    }

private:
    struct Pending {
        std::unique_ptr<AzureCall> call;
        std::string request_id;  // One per logical operation.
        unsigned tries = 0;
        std::uint64_t credential = 0;
    };

    template <typename T>
    bool admitted(const Result<void>& checked, const Done<Result<T>>& done) {
        if (!checked) {
            finished_.push([done, error = checked.error()] { done(std::unexpected(error)); });
        }
        return checked.has_value();
    }
    void pump();
    void send(Pending pending);
    void answered(std::uint64_t key, HttpReply& reply);
    void note_retry_after(const HttpReply& reply);
    void refresh_credential();
    void send_token_request();
    [[nodiscard]] Nanos now() const { return vault_->clock.boot(); }
    [[nodiscard]] std::int64_t wall_s() const {
        return static_cast<std::int64_t>(vault_->clock.wall()) / 1'000'000;
    }

    std::shared_ptr<AzureVault> vault_;  // With the factory and its other stores.
    HttpClient http_;
    std::size_t concurrency_;
    std::deque<Pending> waiting_;
    std::map<std::uint64_t, Pending> sent_;
    std::uint64_t next_key_ = 0;
    std::unique_ptr<TokenAttempt> attempt_;  // While this store refreshes for all.
    CompletionQueue finished_;               // Operations that end without a request.
};

std::size_t AzureStore::poll() {
    pump();
    std::size_t done = http_.poll();
    done += finished_.run();
    pump();
    return done;
}

void AzureStore::wait(std::int64_t timeout_ns, int wake_fd) {
    if (finished_.size() > 0) {
        return;
    }
    // What waits for another store's refresh hears of it only by looking.
    http_.wait(waiting_.empty() ? timeout_ns : std::min(timeout_ns, credential_wait_ns), wake_fd);
}

// Sends what may be sent now. Never runs a callback.
void AzureStore::pump() {
    refresh_credential();
    if (static_cast<std::int64_t>(now()) < vault_->quiet_until_ns) {
        return;
    }
    while (!waiting_.empty() && sent_.size() < concurrency_) {
        switch (vault_->authorizer->state(now())) {
            case Authorizer::State::waiting:
                return;
            case Authorizer::State::usable: {
                Pending pending = std::move(waiting_.front());
                waiting_.pop_front();
                send(std::move(pending));
                break;
            }
            case Authorizer::State::failed: {
                // Shared with the queue only because a std::function must be copyable.
                const std::shared_ptr<AzureCall> call = std::move(waiting_.front().call);
                waiting_.pop_front();
                finished_.push(
                    [call, error = vault_->authorizer->failure()] { call->fail_unsent(error); });
                break;
            }
        }
    }
}

void AzureStore::send(Pending pending) {
    HttpRequest request = pending.call->build(vault_->wire);
    request.origin = vault_->wire.endpoint.origin;
    request.headers.emplace_back("x-ms-date", format_http_date(wall_s()));
    request.headers.emplace_back("x-ms-version", vault_->wire.api_version);
    request.headers.emplace_back("x-ms-client-request-id",
                                 pending.request_id + "-" + std::to_string(++pending.tries));
    pending.credential = vault_->authorizer->sign(request);
    const std::uint64_t key = next_key_++;
    sent_.emplace(key, std::move(pending));
    http_.start(std::move(request), [this, key](HttpReply& reply) { answered(key, reply); });
}

void AzureStore::answered(std::uint64_t key, HttpReply& reply) {
    auto node = sent_.extract(key);
    CW_ASSERT(!node.empty());
    Pending pending = std::move(node.mapped());
    note_retry_after(reply);
    if (credential_refused(reply) && pending.tries == 1 &&
        vault_->authorizer->reject(pending.credential)) {
        waiting_.push_front(std::move(pending));
        return;
    }
    if (auto next = pending.call->judge(reply, wall_s())) {
        waiting_.push_front({std::move(next), std::move(pending.request_id)});
    }
}

// One store's Retry-After is every store's: the limits are the account's.
void AzureStore::note_retry_after(const HttpReply& reply) {
    if (reply.transport != Transport::answered || (reply.status != 503 && reply.status != 429)) {
        return;
    }
    if (const auto pause_ns = parse_retry_after_ns(reply.headers, wall_s())) {
        vault_->quiet_until_ns =
            static_cast<std::int64_t>(now()) + std::min(*pause_ns, quiet_ns_max);
    }
}

void AzureStore::refresh_credential() {
    if (!attempt_ && (attempt_ = vault_->authorizer->begin_refresh(now()))) {
        send_token_request();
    }
}

void AzureStore::send_token_request() {
    http_.start(attempt_->request(), [this](HttpReply& reply) {
        auto token = attempt_->take(reply, now());
        wipe(reply.body);
        if (token && !*token) {
            return send_token_request();
        }
        attempt_.reset();
        vault_->authorizer->end_refresh(
            token ? Result<Token>(std::move(**token)) : std::unexpected(token.error()), now());
    });
}

// The same connections, credentials and retries for calls outside the contract.
class AzurePageStore final : public PageBlobStore {
public:
    explicit AzurePageStore(std::shared_ptr<AzureVault> vault) : store_(std::move(vault)) {}
    void create(PageCreate request, Done<PutResult> done) override {
        store_.enqueue(make_page_create_call(std::move(request), std::move(done)));
    }
    void write(PageWrite request, Done<PutResult> done) override {
        store_.enqueue(make_page_write_call(std::move(request), std::move(done)));
    }
    void clear(PageClear request, Done<PutResult> done) override {
        store_.enqueue(make_page_clear_call(std::move(request), std::move(done)));
    }
    void size(PageBlobName blob, Done<Result<std::uint64_t>> done) override {
        store_.enqueue(make_page_size_call(std::move(blob), std::move(done)));
    }
    std::size_t poll() override { return store_.poll(); }
    void wait(std::int64_t timeout_ns) override { store_.wait(timeout_ns, -1); }

private:
    AzureStore store_;
};

class AzureFactory final : public StoreFactory {
public:
    explicit AzureFactory(std::shared_ptr<AzureVault> vault) : vault_(std::move(vault)) {}
    std::unique_ptr<BlobStore> make() override { return std::make_unique<AzureStore>(vault_); }
    [[nodiscard]] std::string describe() const override { return vault_->wire.endpoint.describe(); }

private:
    std::shared_ptr<AzureVault> vault_;  // With the stores, which may outlive the factory.
};

std::string or_default(const std::string& text, std::string_view fallback) {
    return text.empty() ? std::string(fallback) : text;
}

Result<Secret<std::string>> decode_key(std::string_view text) {
    auto key = from_base64(text);
    if (!key || key->empty()) {
        return fail(Errc::config_invalid, "the account key is not base64");
    }
    Secret<std::string> decoded{std::string(as_text(*key))};
    wipe(*key);
    return decoded;
}

Result<std::unique_ptr<Authorizer>> make_authorizer(const AzureOptions& options,
                                                    const std::string& account) {
    const auto needs = [](bool present, const char* what) -> Result<void> {
        return present ? Result<void>{} : fail(Errc::config_invalid, what);
    };
    const bool has_secret = !options.secret.reveal().empty();
    switch (options.auth) {
        case AzureAuth::managed_identity:
            return make_bearer_authorizer(make_managed_identity_source(
                or_default(options.identity_endpoint, "http://169.254.169.254"),
                options.client_id));
        case AzureAuth::arc:
            return make_bearer_authorizer(
                make_arc_source(or_default(options.identity_endpoint,
                                           "http://127.0.0.1:40342/metadata/identity/oauth2/token"),
                                options.arc_key_directory));
        case AzureAuth::client_secret:
            CW_TRY(needs(has_secret && !options.tenant.empty() && !options.client_id.empty(),
                         "client-secret needs tenant, client id and secret"));
            return make_bearer_authorizer(make_client_secret_source(
                or_default(options.identity_endpoint, "https://login.microsoftonline.com"),
                options.tenant, options.client_id, options.secret.clone()));
        case AzureAuth::sas:
            CW_TRY(needs(has_secret, "sas needs the signature"));
            return make_sas_authorizer(options.secret.clone());
        case AzureAuth::fixed_token:
            CW_TRY(needs(has_secret, "fixed-token needs the token"));
            return make_fixed_token_authorizer(options.secret.clone());
        case AzureAuth::shared_key: {
            CW_TRY(needs(has_secret, "shared-key needs the account key"));
            CW_TRY_ASSIGN(Secret<std::string> key, decode_key(options.secret.reveal()));
            return make_shared_key_authorizer(account, std::move(key));
        }
        case AzureAuth::emulator: {
            CW_TRY_ASSIGN(Secret<std::string> key, decode_key(emulator_key));
            return make_shared_key_authorizer(account, std::move(key));
        }
    }
    return fail(Errc::config_invalid, "unknown authentication");
}

}  // namespace

Result<AzureAuth> parse_azure_auth(std::string_view text) {
    constexpr std::array<std::pair<std::string_view, AzureAuth>, 7> names{{
        {"managed-identity", AzureAuth::managed_identity},
        {"arc", AzureAuth::arc},
        {"client-secret", AzureAuth::client_secret},
        {"sas", AzureAuth::sas},
        {"shared-key", AzureAuth::shared_key},
        {"fixed-token", AzureAuth::fixed_token},
        {"emulator", AzureAuth::emulator},
    }};
    for (const auto& [name, auth] : names) {
        if (name == text) {
            return auth;
        }
    }
    return fail(Errc::config_invalid, "unknown vault auth");
}

namespace {

Result<std::shared_ptr<AzureVault>> make_vault(AzureEndpoint endpoint, AzureOptions options,
                                               Clock& clock, Random& random) {
    if (options.page_entries < 1 || options.page_entries > 5000) {
        return fail(Errc::config_invalid, "a list page has 1 to 5000 entries");
    }
    CW_TRY_ASSIGN(auto authorizer, make_authorizer(options, endpoint.account));
    auto vault = std::make_shared<AzureVault>(clock, random);
    vault->wire = {.endpoint = std::move(endpoint),
                   .api_version = std::move(options.api_version),
                   .crc64 = options.crc64 && options.auth != AzureAuth::emulator,
                   .page_entries = options.page_entries};
    vault->http.ca_file = std::move(options.ca_file);
    vault->http.proxy = std::move(options.proxy);
    vault->http.pace = std::move(options.pace);
    vault->http.progress_timeout_ns = options.progress_timeout_ns;
    vault->http.reply_timeout_ns = options.reply_timeout_ns;
    vault->concurrency = std::max<std::size_t>(options.concurrency, 1);
    vault->authorizer = std::move(authorizer);
    return vault;
}

}  // namespace

Result<std::unique_ptr<StoreFactory>> make_azure_factory(AzureOptions options, Clock& clock,
                                                         Random& random) {
    CW_TRY_ASSIGN(AzureEndpoint endpoint, parse_azure_url(options.url));
    CW_TRY_ASSIGN(auto vault, make_vault(std::move(endpoint), std::move(options), clock, random));
    return std::make_unique<AzureFactory>(std::move(vault));
}

Result<std::unique_ptr<PageBlobStore>> make_page_blob_store(AzureOptions options, Clock& clock,
                                                            Random& random) {
    CW_TRY_ASSIGN(AzureEndpoint endpoint, parse_azure_url(options.url));
    CW_TRY_ASSIGN(auto vault, make_vault(std::move(endpoint), std::move(options), clock, random));
    return std::make_unique<AzurePageStore>(std::move(vault));
}

Result<std::unique_ptr<PageBlobStore>> make_disk_upload_store(const DiskUpload& upload,
                                                              AzureOptions options, Clock& clock,
                                                              Random& random) {
    options.auth = AzureAuth::sas;
    options.secret = upload.sas.clone();
    AzureEndpoint endpoint;
    endpoint.origin = upload.origin;
    CW_TRY_ASSIGN(auto vault, make_vault(std::move(endpoint), std::move(options), clock, random));
    return std::make_unique<AzurePageStore>(std::move(vault));
}

}  // namespace cw::blob
