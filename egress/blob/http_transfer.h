// One request in flight: what curl is told about it and what it hands back. Private to HttpClient.
#pragma once

#include "egress/blob/http_client.h"

#include <curl/curl.h>

namespace cw::blob {

struct CurlClose {
    void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
    void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, CurlClose>;
using HeaderList = std::unique_ptr<curl_slist, CurlClose>;

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
    std::uint64_t pace = 0;                 // Bytes per second; 0: as fast as it goes.
    bool body_sent = false;
    bool reply_begun = false;
    bool too_large = false;

    void moved() { progress = clock->boot(); }
};

// Tells curl everything about `transfer.request`. The transfer must not move afterwards.
void prepare(Transfer& transfer, const HttpClientOptions& options);
// At any time.
void set_pace(Transfer& transfer, std::uint64_t bytes_per_s);

}  // namespace cw::blob
