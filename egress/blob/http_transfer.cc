#include "egress/blob/http_transfer.h"

#include <algorithm>
#include <cstring>

namespace cw::blob {
namespace {

constexpr long upload_buffer_bytes = 512 * 1024, download_buffer_bytes = 512 * 1024;
constexpr std::size_t headers_max = 256;

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
    if (transfer.pace > 0) {  // Small pieces: a large one would be sent at once, then nothing.
        room = std::min<std::size_t>(room, std::max<std::uint64_t>(transfer.pace / 8, 4096));
    }
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

}  // namespace

void set_pace(Transfer& transfer, std::uint64_t bytes_per_s) {
    transfer.pace = bytes_per_s;
    set(transfer.easy.get(), CURLOPT_MAX_SEND_SPEED_LARGE, static_cast<curl_off_t>(bytes_per_s));
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

}  // namespace cw::blob
