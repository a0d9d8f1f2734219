// Listings of blobs and containers.
#include "egress/blob/http_parse.h"
#include "tests/fake_azure/rules.h"
#include "tests/fake_azure/service.h"

#include <algorithm>
#include <set>

namespace cw::fake_azure {
namespace {

constexpr std::uint64_t results_max = 5000;
// Markers are opaque, and full of what XML must escape: a client that forgets to unescape fails.
constexpr std::string_view marker_prefix = "2!&<\">!";

std::string make_marker(std::string_view name) {
    return std::string(marker_prefix) + to_hex(as_bytes(name));
}

std::optional<std::string> read_marker(std::string_view marker) {
    if (marker.empty()) {
        return std::string{};
    }
    if (!marker.starts_with(marker_prefix)) {
        return std::nullopt;
    }
    const auto name = from_hex(marker.substr(marker_prefix.size()));
    return name ? std::optional(std::string(as_text(*name))) : std::nullopt;
}

void append_blob(std::string& xml, const std::string& name, const Blob& blob, bool metadata) {
    xml += "<Blob><Name>" + xml_escape(name) + "</Name><Properties><Last-Modified>" +
           blob::format_http_date(blob.modified_s) + "</Last-Modified><Etag>" + blob.etag +
           "</Etag><Content-Length>" + std::to_string(blob.size) + "</Content-Length><BlobType>" +
           (blob.kind == BlobKind::block ? "BlockBlob" : "PageBlob") + "</BlobType><AccessTier>" +
           blob.tier + "</AccessTier></Properties>";
    if (metadata) {
        xml += "<Metadata>";
        for (const auto& [key, value] : blob.metadata) {
            xml += "<" + key + ">" + xml_escape(value) + "</" + key + ">";
        }
        xml += "</Metadata>";
    }
    xml += "</Blob>";
}

}  // namespace

Reply Service::list_blobs(const Request& request, const Container& container) {
    const std::string prefix(request.parameter("prefix"));
    const std::string delimiter(request.parameter("delimiter"));
    const auto after = read_marker(request.parameter("marker"));
    const std::string_view most_text = request.parameter("maxresults");
    const auto most = most_text.empty() ? results_max : blob::parse_decimal(most_text);
    if (!after || !most || *most == 0 || *most > results_max) {
        return {400, "InvalidQueryParameterValue"};
    }
    const bool metadata = request.parameter("include").find("metadata") != std::string_view::npos;
    std::string xml =
        "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults "
        "ServiceEndpoint=\"http://fake/\" ContainerName=\"" +
        request.container + "\"><Prefix>" + xml_escape(prefix) + "</Prefix><MaxResults>" +
        std::to_string(*most) + "</MaxResults><Blobs>";
    std::set<std::string> directories;
    std::string last, next;
    std::uint64_t listed = 0;
    for (auto at = container.blobs.lower_bound(prefix); at != container.blobs.end(); ++at) {
        const auto& [name, blob] = *at;
        if (!name.starts_with(prefix)) {
            break;
        }
        if (!after->empty() && name <= *after) {
            continue;
        }
        if (listed == *most) {
            next = make_marker(last);
            break;
        }
        last = name;
        const std::size_t cut =
            delimiter.empty() ? std::string::npos : name.find(delimiter, prefix.size());
        if (cut == std::string::npos) {
            append_blob(xml, name, blob, metadata);
            ++listed;
        } else if (directories.insert(name.substr(0, cut + delimiter.size())).second) {
            xml += "<BlobPrefix><Name>" + xml_escape(name.substr(0, cut + delimiter.size())) +
                   "</Name></BlobPrefix>";
            ++listed;
        }
    }
    Reply reply(200);
    reply.with("Content-Type", "application/xml");
    reply.text =
        xml + "</Blobs><NextMarker>" + xml_escape(next) + "</NextMarker></EnumerationResults>";
    return reply;
}

Reply Service::list_containers(const Request& request) {
    const std::string prefix(request.parameter("prefix"));
    Reply reply(200);
    reply.with("Content-Type", "application/xml");
    reply.text = "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Containers>";
    for (const auto& [name, container] : account_.containers) {
        if (name.starts_with(prefix) && container.deleted_until_ns == 0) {
            reply.text += "<Container><Name>" + name + "</Name><Properties><Last-Modified>" +
                          blob::format_http_date(container.created_s) +
                          "</Last-Modified></Properties></Container>";
        }
    }
    reply.text += "</Containers><NextMarker/></EnumerationResults>";
    return reply;
}

}  // namespace cw::fake_azure
