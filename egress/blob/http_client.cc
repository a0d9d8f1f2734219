#include "egress/blob/http_client.h"

#include "egress/blob/http_transfer.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <mutex>

namespace cw::blob {
namespace {

constexpr std::int64_t deadline_slice_ns = 250 * ns_per_ms;  // How often deadlines are looked at.

struct Multi {
    CURLM* handle = curl_multi_init();
    Multi() = default;
    Multi(const Multi&) = delete;
    Multi& operator=(const Multi&) = delete;
    ~Multi() { curl_multi_cleanup(handle); }
};

// Whether the request can have left this machine when curl gave up with `code`.
bool never_sent(CURL* easy, CURLcode code) {
    switch (code) {
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_CONNECT:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_PROXY:
            return true;
        default:
            break;
    }
    curl_off_t before_send_us = 0;
    curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &before_send_us);
    return before_send_us == 0;
}

bool is_tls(CURLcode code) {
    return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
           code == CURLE_SSL_CACERT_BADFILE;
}

const char* text_of(CURLcode code) {
    // Of itself no proof that the account is gone: the name service may be what failed.
    return code == CURLE_COULDNT_RESOLVE_HOST ? "its name is not known: the account is gone or "
                                                "misspelt, or the name service is away"
                                              : curl_easy_strerror(code);
}

}  // namespace

struct HttpClient::State {
    State(HttpClientOptions o, Clock& c) : options(std::move(o)), clock(c) {}

    HttpClientOptions options;
    Clock& clock;
    Multi multi;
    std::vector<Easy> spare;
    std::map<CURL*, std::unique_ptr<Transfer>> transfers;
    Nanos deadlines_checked{0};
    std::uint64_t pace = 0;  // Bytes per second that the transfers know.

    void follow_pace();
    void finish(CURL* easy, CURLcode code, std::string_view cause);
    void check_deadlines();
    [[nodiscard]] std::string_view overdue(const Transfer& transfer, Nanos now) const;
};

HttpClient::HttpClient(HttpClientOptions options, Clock& clock) {
    static std::once_flag once;
    std::call_once(once, [] {
        CW_ASSERT(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
        // OpenSSL writes to sockets without MSG_NOSIGNAL, and curl leaves the signal to us.
        struct sigaction now{};
        if (::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
            std::signal(SIGPIPE, SIG_IGN);
        }
    });
    state_ = std::make_unique<State>(std::move(options), clock);
    CURLM* multi = state_->multi.handle;
    CW_ASSERT(multi != nullptr);
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS,
                      static_cast<long>(state_->options.connections_max));
}

HttpClient::~HttpClient() {
    for (auto& [easy, transfer] : state_->transfers) {
        curl_multi_remove_handle(state_->multi.handle, easy);
    }
}

void HttpClient::start(HttpRequest request, std::function<void(HttpReply&)> done) {
    auto transfer = std::make_unique<Transfer>();
    transfer->request = std::move(request);
    transfer->done = std::move(done);
    transfer->clock = &state_->clock;
    transfer->moved();
    if (state_->spare.empty()) {
        transfer->easy.reset(curl_easy_init());
        CW_ASSERT(transfer->easy != nullptr);
    } else {
        transfer->easy = std::move(state_->spare.back());
        state_->spare.pop_back();
    }
    prepare(*transfer, state_->options);
    set_pace(*transfer, state_->pace);
    CURL* easy = transfer->easy.get();
    state_->transfers.emplace(easy, std::move(transfer));
    CW_ASSERT(curl_multi_add_handle(state_->multi.handle, easy) == CURLM_OK);
}

// Also for what is on its way: curl looks at the limit each time it moves bytes.
void HttpClient::State::follow_pace() {
    const std::uint64_t wanted = options.pace ? options.pace->bytes_per_s.load() : 0;
    if (wanted == pace) {
        return;
    }
    pace = wanted;
    for (const auto& [easy, transfer] : transfers) {
        set_pace(*transfer, pace);
    }
}

std::size_t HttpClient::poll() {
    state_->follow_pace();
    int running = 0;
    (void)curl_multi_perform(state_->multi.handle, &running);
    std::vector<std::pair<CURL*, CURLcode>> finished;
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(state_->multi.handle, &left)) {
        if (message->msg == CURLMSG_DONE) {
            finished.emplace_back(message->easy_handle, message->data.result);
        }
    }
    for (const auto& [easy, code] : finished) {
        state_->finish(easy, code, {});
    }
    const std::size_t before = state_->transfers.size();
    state_->check_deadlines();
    return finished.size() + (before > state_->transfers.size() ? 1 : 0);
}

void HttpClient::wait(std::int64_t timeout_ns, int wake_fd) {
    curl_waitfd wake{};
    wake.fd = wake_fd;
    wake.events = CURL_WAIT_POLLIN;
    std::int64_t bounded_ns = std::max<std::int64_t>(timeout_ns, 0);
    if (!state_->transfers.empty()) {
        bounded_ns = std::min(bounded_ns, deadline_slice_ns);
    }
    const std::int64_t ms =
        std::min<std::int64_t>((bounded_ns + ns_per_ms - 1) / ns_per_ms, 60'000);
    (void)curl_multi_poll(state_->multi.handle, &wake, wake_fd >= 0 ? 1 : 0, static_cast<int>(ms),
                          nullptr);
}

std::size_t HttpClient::in_flight() const noexcept {
    return state_->transfers.size();
}

void HttpClient::State::finish(CURL* easy, CURLcode code, std::string_view cause) {
    const auto found = transfers.find(easy);
    CW_ASSERT(found != transfers.end());
    const std::unique_ptr<Transfer> transfer = std::move(found->second);
    transfers.erase(found);
    HttpReply& reply = transfer->reply;
    if (code == CURLE_OK && cause.empty()) {
        long status = 0;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        reply.transport = Transport::answered;
        reply.status = static_cast<int>(status);
    } else {
        reply.transport = never_sent(easy, code) ? Transport::not_sent : Transport::in_doubt;
        reply.failure = is_tls(code) ? Errc::tls_failed : Errc::blob_unavailable;
        reply.detail = transfer->request.origin + ": " +
                       (!cause.empty()        ? std::string(cause)
                        : transfer->too_large ? std::string("the reply is too large")
                                              : std::string(text_of(code)));
    }
    // Removing an unfinished transfer closes its connection: nothing is left to answer late.
    curl_multi_remove_handle(multi.handle, easy);
    curl_easy_reset(easy);
    spare.push_back(std::move(transfer->easy));
    transfer->done(reply);
}

void HttpClient::State::check_deadlines() {
    const Nanos now = clock.boot();
    if (now - deadlines_checked < deadline_slice_ns) {
        return;
    }
    deadlines_checked = now;
    std::vector<std::pair<CURL*, std::string_view>> late;
    for (const auto& [easy, transfer] : transfers) {
        if (const std::string_view cause = overdue(*transfer, now); !cause.empty()) {
            late.emplace_back(easy, cause);
        }
    }
    for (const auto& [easy, cause] : late) {
        finish(easy, CURLE_OPERATION_TIMEDOUT, cause);
    }
}

std::string_view HttpClient::State::overdue(const Transfer& transfer, Nanos now) const {
    const std::int64_t quiet_ns = now - transfer.progress;
    const bool waits_for_reply = transfer.body_sent && !transfer.reply_begun;
    if (waits_for_reply && quiet_ns > options.reply_timeout_ns) {
        return "no reply in time";
    }
    if (!waits_for_reply && quiet_ns > options.progress_timeout_ns) {
        return "no progress in time";
    }
    return {};
}

std::string percent_encode(std::string_view text, bool keep_slash) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~' ||
                           (keep_slash && c == '/');
        if (plain) {
            out += c;
        } else {
            constexpr std::string_view hex = "0123456789ABCDEF";
            const auto byte = static_cast<unsigned char>(c);
            out += {'%', hex[byte >> 4], hex[byte & 15]};
        }
    }
    return out;
}

}  // namespace cw::blob
