// What the client reads of an HTTP reply besides its body, and the vault URL.
#include "base/assert.h"
#include "egress/blob/azure_calls.h"
#include "egress/blob/azure_endpoint.h"
#include "egress/blob/azure_errors.h"
#include "egress/blob/page_blob.h"

namespace {

using namespace cw;
using namespace cw::blob;

constexpr std::int64_t now_s = 1'800'000'000;

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
    const Judgement judgement = judge_failure(reply, "fuzz", now_s);
    CW_ASSERT(!credential_refused(reply) || from_service(reply));
    CW_ASSERT(!credential_refused(reply) || judgement.error.code == Errc::blob_auth ||
              judgement.error.code == Errc::clock_skew || !error_code_of(reply).empty());
    // Only the service itself can say that an object is absent.
    CW_ASSERT(judgement.error.code != Errc::blob_not_found || from_service(reply));
    CW_ASSERT(judgement.error.detail.find('\n') == std::string::npos);
    if (const auto properties = parse_properties(reply)) {
        CW_ASSERT(!properties->etag.empty());
    }
    if (const auto pause_ns = parse_retry_after_ns(reply.headers, 0)) {
        CW_ASSERT(*pause_ns >= 0 && *pause_ns <= 3600 * ns_per_s);
    }
    // Without an answer nothing of it is believed, and only the transport knows what was done.
    for (const Transport transport : {Transport::not_sent, Transport::in_doubt}) {
        reply.transport = transport;
        const Judgement silent = judge_failure(reply, "fuzz", now_s);
        CW_ASSERT(silent.error.code == reply.failure && !credential_refused(reply));
        CW_ASSERT(silent.in_doubt == (transport == Transport::in_doubt));
    }
}

void check_endpoint(const AzureEndpoint& endpoint) {
    const auto again = parse_azure_url(endpoint.describe());
    CW_ASSERT(again && again->describe() == endpoint.describe());
    const BlobName name{Container::control, "gc/x"};
    CW_ASSERT(again->object_path(name) == endpoint.object_path(name));
    // "/account/prefix-control/gc/x", with what there is of it.
    const std::string path = endpoint.container_path(Container::control);
    CW_ASSERT(endpoint.object_path(name) == path + "/gc/x" && path.ends_with("control"));
    const std::string account = endpoint.account + (endpoint.secondary ? "-secondary" : "");
    CW_ASSERT(path.starts_with("/" + account + "/") || !endpoint.path_style);
    CW_ASSERT(check_writable(endpoint).has_value() == !endpoint.secondary);
    CW_ASSERT(path.contains("/" + endpoint.prefix + "-") || endpoint.prefix.empty());
}

void check_upload(const DiskUpload& upload) {
    CW_ASSERT(!upload.blob.name.empty() && !upload.blob.container.empty());
    CW_ASSERT(!upload.blob.name.contains('/') && upload.sas.reveal().contains("sig="));
    const auto again = parse_disk_upload(upload.origin + "/" + upload.blob.container + "/" +
                                         upload.blob.name + "?" + upload.sas.reveal());
    CW_ASSERT(again && again->origin == upload.origin && again->blob.name == upload.blob.name);
    CW_ASSERT(again->blob.container == upload.blob.container);
    CW_ASSERT(again->sas.reveal() == upload.sas.reveal());
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
        check_endpoint(*endpoint);
    }
    if (const auto upload = parse_disk_upload(text)) {
        check_upload(*upload);
    }
    return 0;
}
