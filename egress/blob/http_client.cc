#include "egress/blob/http_client.h"

#include "base/ids.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <map>
#include <mutex>

#include <curl/curl.h>

namespace cw::blob {
namespace {

constexpr long upload_buffer_bytes = 512 * 1024, download_buffer_bytes = 512 * 1024;
constexpr std::size_t headers_max = 256;
constexpr std::int64_t deadline_slice_ns = 250 * ns_per_ms;  // How often deadlines are looked at.

struct CurlClose {
    void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
    void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, CurlClose>;
using HeaderList = std::unique_ptr<curl_slist, CurlClose>;

struct Multi {
    CURLM* handle = curl_multi_init();
    Multi() = default;
    Multi(const Multi&) = delete;
    Multi& operator=(const Multi&) = delete;
    ~Multi() { curl_multi_cleanup(handle); }
};

// One request in flight. curl holds its address.
struct Transfer {
    HttpRequest request;
    std::function<void(HttpReply&)> done;
    HttpReply reply;
    Easy easy;
    HeaderList headers;
    Clock* clock = nullptr;
    Nanos progress{0};                      // When a byte last moved.
    std::size_t part = 0, part_offset = 0;  // Next body byte to send.
    bool body_sent = false;
    bool reply_begun = false;
    bool too_large = false;

    void moved() { progress = clock->boot(); }
};

void append(HeaderList& list, const std::string& line) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    CW_ASSERT(longer != nullptr);
    (void)list.release();
    list.reset(longer);
}

std::size_t send_body(char* out, std::size_t size, std::size_t count, void* context) {
    auto& transfer = *static_cast<Transfer*>(context);
    const std::vector<Bytes>& parts = transfer.request.body;
    std::size_t room = size * count, written = 0;
    while (room > 0 && transfer.part < parts.size()) {
        const Bytes rest = parts[transfer.part].subspan(transfer.part_offset);
        const std::size_t n = std::min(room, rest.size());
        if (n > 0) {
            std::memcpy(out + written, rest.data(), n);
        }
        written += n;
        room -= n;
        transfer.part_offset += n;
        if (transfer.part_offset == parts[transfer.part].size()) {
            ++transfer.part;
            transfer.part_offset = 0;
        }
    }
    transfer.body_sent = transfer.part == parts.size();
    transfer.moved();
    return written;
}

// curl rewinds the body when a kept connection turned out to be dead before any reply.
int rewind_body(void* context, curl_off_t offset, int origin) {
    auto& transfer = *static_cast<Transfer*>(context);
    if (offset != 0 || origin != SEEK_SET) {
        return CURL_SEEKFUNC_FAIL;
    }
    transfer.part = transfer.part_offset = 0;
    transfer.body_sent = transfer.request.body.empty();
    return CURL_SEEKFUNC_OK;
}

std::size_t take_header(char* line, std::size_t size, std::size_t count, void* context) {
    auto& transfer = *static_cast<Transfer*>(context);
    const std::string_view text(line, size * count);
    if (text.starts_with("HTTP/")) {
        transfer.reply.headers.clear();  // An interim 100 came before.
    } else if (auto header = parse_header_line(text)) {
        if (transfer.reply.headers.size() == headers_max) {
            return 0;  // Ends the transfer: no honest reply has so many.
        }
        transfer.reply.headers.push_back(std::move(*header));
    }
    transfer.reply_begun = true;
    transfer.moved();
    return text.size();
}

std::size_t take_body(char* data, std::size_t size, std::size_t count, void* context) {
    auto& transfer = *static_cast<Transfer*>(context);
    const std::size_t bytes = size * count;
    ByteVector& body = transfer.reply.body;
    if (body.size() + bytes > transfer.request.reply_bytes_max) {
        transfer.too_large = true;
        return 0;
    }
    if (body.empty()) {
        const auto length = parse_decimal(header_of(transfer.reply.headers, "content-length"));
        body.reserve(std::min(length.value_or(bytes), transfer.request.reply_bytes_max));
    }
    const Bytes piece = as_bytes({data, bytes});
    body.insert(body.end(), piece.begin(), piece.end());
    transfer.moved();
    return bytes;
}

std::string url_of(const HttpRequest& request) {
    std::string url = request.origin + request.path;
    char separator = '?';
    for (const auto& [name, value] : request.query) {
        url += separator + percent_encode(name) + '=' + percent_encode(value);
        separator = '&';
    }
    if (!request.sas.reveal().empty()) {
        url += separator + request.sas.reveal();
    }
    return url;
}

template <typename Value>
void set(CURL* easy, CURLoption option, Value value) {
    // Only a curl built without the feature refuses; then nothing here may run.
    const CURLcode code = curl_easy_setopt(easy, option, value);
    CW_ASSERT(code == CURLE_OK);
}

void set_method(Transfer& transfer) {
    CURL* easy = transfer.easy.get();
    const HttpRequest& request = transfer.request;
    std::uint64_t bytes = 0;
    for (const Bytes part : request.body) {
        bytes += part.size();
    }
    transfer.body_sent = bytes == 0;
    if (request.method == "PUT") {
        set(easy, CURLOPT_UPLOAD, 1L);
        set(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(bytes));
        set(easy, CURLOPT_UPLOAD_BUFFERSIZE, upload_buffer_bytes);
        set(easy, CURLOPT_READFUNCTION, &send_body);
        set(easy, CURLOPT_READDATA, static_cast<void*>(&transfer));
        set(easy, CURLOPT_SEEKFUNCTION, &rewind_body);
        set(easy, CURLOPT_SEEKDATA, static_cast<void*>(&transfer));
    } else if (request.method == "POST") {
        set(easy, CURLOPT_POST, 1L);
        set(easy, CURLOPT_POSTFIELDSIZE_LARGE,
            static_cast<curl_off_t>(request.form.reveal().size()));
        set(easy, CURLOPT_POSTFIELDS, request.form.reveal().c_str());
    } else if (request.method == "HEAD") {
        set(easy, CURLOPT_NOBODY, 1L);
    } else if (request.method == "DELETE") {
        set(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
    } else {
        CW_ASSERT(request.method == "GET");
    }
}

void set_headers(Transfer& transfer) {
    append(transfer.headers, "Expect:");  // It costs a round trip.
    append(transfer.headers, "Accept:");
    for (const auto& [name, value] : transfer.request.headers) {
        append(transfer.headers, name + ": " + value);
    }
    if (const std::string& credential = transfer.request.authorization.reveal();
        !credential.empty()) {
        append(transfer.headers, "authorization: " + credential);
    }
    set(transfer.easy.get(), CURLOPT_HTTPHEADER, transfer.headers.get());
}

void set_connection(Transfer& transfer, const HttpClientOptions& options) {
    CURL* easy = transfer.easy.get();
    const auto milliseconds = [](std::int64_t ns) { return static_cast<long>(ns / ns_per_ms); };
    set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (!options.ca_file.empty()) {
        set(easy, CURLOPT_CAINFO, options.ca_file.c_str());
    }
    // An empty string also switches off what http_proxy and its kin say.
    set(easy, CURLOPT_PROXY, transfer.request.use_proxy ? options.proxy.c_str() : "");
    set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(easy, CURLOPT_NOSIGNAL, 1L);
    set(easy, CURLOPT_FOLLOWLOCATION, 0L);
    set(easy, CURLOPT_PATH_AS_IS, 1L);
    set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    set(easy, CURLOPT_BUFFERSIZE, download_buffer_bytes);
    set(easy, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(options.connect_timeout_ns));
    set(easy, CURLOPT_MAXAGE_CONN, static_cast<long>(options.idle_timeout_ns / ns_per_s));
}

void prepare(Transfer& transfer, const HttpClientOptions& options) {
    CURL* easy = transfer.easy.get();
    set(easy, CURLOPT_URL, url_of(transfer.request).c_str());
    set_connection(transfer, options);
    set_method(transfer);
    set_headers(transfer);
    set(easy, CURLOPT_HEADERFUNCTION, &take_header);
    set(easy, CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
    set(easy, CURLOPT_WRITEFUNCTION, &take_body);
    set(easy, CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
}

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

}  // namespace

struct HttpClient::State {
    State(HttpClientOptions o, Clock& c) : options(std::move(o)), clock(c) {}

    HttpClientOptions options;
    Clock& clock;
    Multi multi;
    std::vector<Easy> spare;
    std::map<CURL*, std::unique_ptr<Transfer>> transfers;
    Nanos deadlines_checked{0};

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
    CURL* easy = transfer->easy.get();
    state_->transfers.emplace(easy, std::move(transfer));
    CW_ASSERT(curl_multi_add_handle(state_->multi.handle, easy) == CURLM_OK);
}

std::size_t HttpClient::poll() {
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
                                              : std::string(curl_easy_strerror(code)));
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
