#include "egress/blob/azure_store.h"

#include "base/ids.h"
#include "egress/blob/azure_calls.h"
#include "egress/blob/azure_credentials.h"
#include "egress/blob/azure_errors.h"
#include "egress/blob/common.h"
#include "egress/blob/completion_queue.h"
#include "egress/blob/credential_gate.h"
#include "egress/blob/page_blob.h"
#include "egress/blob/service_clock.h"

#include <algorithm>
#include <atomic>
#include <map>

namespace cw::blob {
namespace {

constexpr std::int64_t credential_wait_ns = 50 * ns_per_ms;
constexpr std::int64_t quiet_ns_max = 60 * ns_per_s;  // However long the service asks for.

// What the stores of one factory share.
struct AzureVault {
    AzureVault(Clock& c, Random& r, Conditions* told) : clock(c), random(r), date(c, told) {}

    AzureWire wire;
    HttpClientOptions http;
    std::size_t concurrency = 1;
    std::unique_ptr<Authorizer> authorizer;
    Clock& clock;
    Random& random;
    ServiceClock date;
    CredentialGate gate;
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
        vault_->gate.leave(this);
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
        std::int64_t dated_s = 0;
        bool probe = false;  // See CredentialGate.
    };

    template <typename T>
    bool admitted(const Result<void>& checked, const Done<Result<T>>& done) {
        if (!checked) {
            finished_.push([done, error = checked.error()] { done(std::unexpected(error)); });
        }
        return checked.has_value();
    }
    void pump();
    [[nodiscard]] bool pump_one();
    void put_first(Pending pending);
    void fail_first(Error error);
    void end_unsent(Pending pending, Error error);
    void send(Pending pending);
    [[nodiscard]] bool deserves_another(Pending& pending, const HttpReply& reply);
    void answered(std::uint64_t key, HttpReply& reply);
    void note_retry_after(const HttpReply& reply);
    void refresh_credential();
    void send_token_request();
    [[nodiscard]] Nanos now() const { return vault_->clock.boot(); }

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
    while (!waiting_.empty() && sent_.size() < concurrency_ && pump_one()) {
    }
}

// Sends the first that waits, or ends it. False: it must go on waiting, as all behind it.
bool AzureStore::pump_one() {
    switch (vault_->authorizer->state(now())) {
        case Authorizer::State::waiting:
            return false;
        case Authorizer::State::usable:
            break;
        case Authorizer::State::failed:
            fail_first(vault_->authorizer->failure());
            return true;
    }
    Pending& first = waiting_.front();
    if (!first.probe) {
        switch (vault_->gate.ask(this, now())) {
            case CredentialGate::Pass::wait:
                return false;
            case CredentialGate::Pass::fail:
                fail_first(vault_->gate.failure());
                return true;
            case CredentialGate::Pass::probe:
                first.probe = true;
                break;
            case CredentialGate::Pass::go:
                break;
        }
    }
    Pending pending = std::move(first);
    waiting_.pop_front();
    send(std::move(pending));
    return true;
}

void AzureStore::fail_first(Error error) {
    Pending first = std::move(waiting_.front());
    waiting_.pop_front();
    end_unsent(std::move(first), std::move(error));
}

void AzureStore::end_unsent(Pending pending, Error error) {
    if (pending.probe) {
        vault_->gate.end(this, false);
    }
    // Shared with the queue only because a std::function must be copyable.
    const std::shared_ptr<AzureCall> call = std::move(pending.call);
    finished_.push([call, error = std::move(error)] { call->fail_unsent(error); });
}

void AzureStore::send(Pending pending) {
    HttpRequest request = pending.call->build(vault_->wire);
    if (request.method != "GET" && request.method != "HEAD") {
        if (auto ok = check_writable(vault_->wire.endpoint); !ok) {
            return end_unsent(std::move(pending), std::move(ok.error()));
        }
    }
    request.origin = vault_->wire.endpoint.origin;
    pending.dated_s = vault_->date.date_s();
    request.headers.emplace_back("x-ms-date", format_http_date(pending.dated_s));
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
    if (deserves_another(pending, reply)) {
        return put_first(std::move(pending));
    }
    const std::int64_t date_s = vault_->date.date_s();
    if (credential_refused(reply)) {
        vault_->gate.refused(pending.probe ? this : nullptr,
                             judge_failure(reply, "the last try", date_s).error, now());
    } else if (pending.probe) {
        vault_->gate.end(this, reply.transport == Transport::answered && from_service(reply));
    }
    if (auto next = pending.call->judge(reply, date_s)) {
        put_first({std::move(next), std::move(pending.request_id)});
    }
}

// A probe goes before all: they wait for it.
void AzureStore::put_first(Pending pending) {
    const bool behind = !waiting_.empty() && waiting_.front().probe;
    waiting_.insert(waiting_.begin() + (behind ? 1 : 0), std::move(pending));
}

// Whether a request that was refused would be taken with the right date or a fresh credential. Of
// all that were refused at once, one tries that; the others wait to be sent after it.
bool AzureStore::deserves_another(Pending& pending, const HttpReply& reply) {
    const bool redated = vault_->date.learn(reply, pending.dated_s);
    if (!credential_refused(reply) || pending.tries > 1 ||
        (!redated && !vault_->authorizer->reject(pending.credential))) {
        return false;
    }
    pending.probe = pending.probe || vault_->gate.try_fresh(this);
    return true;
}

// One store's Retry-After is every store's: the limits are the account's.
void AzureStore::note_retry_after(const HttpReply& reply) {
    if (reply.transport != Transport::answered || (reply.status != 503 && reply.status != 429)) {
        return;
    }
    if (const auto pause_ns = parse_retry_after_ns(reply.headers, vault_->date.date_s())) {
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
    void ranges(PageRangesRequest request, Done<Result<PageRanges>> done) override {
        store_.enqueue(make_page_ranges_call(std::move(request), std::move(done)));
    }
    void read(PageRead request, Done<Result<ByteVector>> done) override {
        store_.enqueue(make_page_read_call(std::move(request), std::move(done)));
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

Result<std::shared_ptr<AzureVault>> make_vault(AzureEndpoint endpoint, AzureOptions options,
                                               Clock& clock, Random& random) {
    if (options.page_entries < 1 || options.page_entries > 5000) {
        return fail(Errc::config_invalid, "a list page has 1 to 5000 entries");
    }
    CW_TRY_ASSIGN(auto authorizer, make_authorizer(options, endpoint.account));
    auto vault = std::make_shared<AzureVault>(clock, random, options.conditions);
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
