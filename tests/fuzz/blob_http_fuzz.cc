// What the client reads of an HTTP reply besides its body, and the vault URL.
#include "base/assert.h"
#include "egress/blob/azure_calls.h"
#include "egress/blob/azure_endpoint.h"
#include "egress/blob/azure_errors.h"

namespace {

using namespace cw;
using namespace cw::blob;

// "status\nHeader: value\n…": a reply as hostile as it likes to be.
void check_reply(std::string_view text) {
    HttpReply reply;
    reply.transport = Transport::answered;
    const std::string_view status = text.substr(0, text.find('\n'));
    reply.status = static_cast<int>(parse_decimal(status).value_or(200) % 1000);
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        if (auto header = parse_header_line(line)) {
            reply.headers.push_back(std::move(*header));
        }
    }
    const Judgement judgement = judge_failure(reply, "fuzz", 1'800'000'000);
    // Only the service itself can say that an object is absent.
    CW_ASSERT(judgement.error.code != Errc::blob_not_found || from_service(reply));
    CW_ASSERT(judgement.error.detail.find('\n') == std::string::npos);
    if (const auto properties = parse_properties(reply)) {
        CW_ASSERT(!properties->etag.empty());
    }
    if (const auto pause_ns = parse_retry_after_ns(reply.headers, 0)) {
        CW_ASSERT(*pause_ns >= 0 && *pause_ns <= 3600 * ns_per_s);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = as_text({reinterpret_cast<const std::byte*>(data), size});
    check_reply(text);
    if (const auto date = parse_http_date(text)) {
        // Feb 30 and leap seconds are taken as the days and seconds they would be.
        CW_ASSERT(parse_http_date(format_http_date(*date)) == *date);
    }
    if (const auto range = parse_content_range(text)) {
        CW_ASSERT(range->first <= range->last && range->last < range->size);
    }
    if (const auto endpoint = parse_azure_url(text)) {
        CW_ASSERT(parse_azure_url(endpoint->describe())->describe() == endpoint->describe());
    }
    return 0;
}
