// Block blobs: whole puts, blocks, reads, deletion, and what belongs to any blob.
#include "base/checksum.h"
#include "egress/blob/http_parse.h"
#include "tests/fake_azure/rules.h"
#include "tests/fake_azure/sas.h"
#include "tests/fake_azure/service.h"

#include <algorithm>

#include <pugixml.hpp>

namespace cw::fake_azure {
namespace {

constexpr std::uint64_t range_crc_bytes_max = 4 << 20;
constexpr std::size_t blocks_max = 50'000, block_id_bytes_max = 64;

void add_checksum(Reply& reply, const Request& request, std::uint64_t crc) {
    // The service answers with its own CRC unless it was asked in MD5.
    if (request.has("content-md5")) {
        reply.with("Content-MD5", std::string(request.header("content-md5")));
    } else {
        reply.with("x-ms-content-crc64", crc64_text(crc));
    }
}

std::optional<Reply> apply_lock_headers(const Request& request, Blob& blob) {
    if (!request.has("x-ms-immutability-policy-until-date")) {
        return std::nullopt;
    }
    const auto until = blob::parse_http_date(request.header("x-ms-immutability-policy-until-date"));
    if (!until) {
        return Reply(400, "InvalidHeaderValue");
    }
    blob.immutable_until_s = *until;
    return std::nullopt;
}

}  // namespace

Reply Service::store(const Request& request, Target target, Blob fresh) {
    if (auto refused = check_metadata(request)) {
        return *refused;
    }
    if (auto refused = refuse_write(request, target)) {
        return *refused;
    }
    if (auto refused = apply_lock_headers(request, fresh)) {
        return *refused;
    }
    fresh.metadata = metadata_of(request);
    for (const auto& [name, value] : request.headers) {
        if (name.starts_with("x-ms-blob-content-") && name != "x-ms-blob-content-length") {
            fresh.properties[name.substr(std::string_view("x-ms-blob-").size())] = value;
        }
    }
    if (target.blob != nullptr) {
        fresh.lease = target.blob->lease;
    }
    touch(fresh);
    target.container.blocks.erase(request.blob);
    Blob& stored = target.container.blobs[request.blob];
    stored = std::move(fresh);
    return changed(stored, 201).with("x-ms-request-server-encrypted", "true");
}

Reply Service::put_blob(Request& request, Target target) {
    if (request.header("x-ms-blob-type") != "BlockBlob") {
        return {400, "InvalidHeaderValue"};
    }
    if (target.blob != nullptr && target.blob->kind != BlobKind::block) {
        return {409, "InvalidBlobType"};
    }
    Blob fresh;
    fresh.size = request.content_length;
    fresh.content = request.body;
    Reply reply = store(request, target, std::move(fresh));
    if (reply.status == 201) {
        add_checksum(reply, request, request.body_crc);
    }
    return reply;
}

Reply Service::put_block(Request& request, Target target) {
    for (const std::string_view name : {"if-match", "if-none-match"}) {
        if (request.has(name)) {
            return {400, "UnsupportedHeader"};
        }
    }
    const std::string id(request.parameter("blockid"));
    const auto raw = from_base64(id);
    if (!raw || raw->empty() || raw->size() > block_id_bytes_max) {
        return {400, "InvalidQueryParameterValue"};
    }
    if (request.content_length == 0) {
        return {400, "InvalidHeaderValue"};
    }
    auto& blocks = target.container.blocks[request.blob];
    if (!blocks.empty() && blocks.begin()->first.size() != id.size()) {
        return {400, "InvalidBlobOrBlock"};
    }
    if (target.blob != nullptr) {
        if (auto refused = target.blob->lease.check_write(request.header("x-ms-lease-id"),
                                                          time_.steady_ns())) {
            return *refused;
        }
    }
    blocks[id] = {request.body, request.content_length};
    Reply reply(201);
    add_checksum(reply, request, request.body_crc);
    return reply;
}

Reply Service::put_block_list(Request& request, Target target) {
    pugi::xml_document document;
    if (!request.body || !document.load_buffer(request.body->view().data(), request.body->size()) ||
        !document.child("BlockList")) {
        return {400, "InvalidXmlDocument"};
    }
    const auto& blocks = target.container.blocks[request.blob];
    Blob fresh;
    std::vector<Content> parts;
    for (const pugi::xml_node node : document.child("BlockList").children()) {
        // Committed blocks are not kept apart: only Latest and Uncommitted can be served.
        const auto found = blocks.find(node.child_value());
        if (found == blocks.end() || parts.size() == blocks_max) {
            return {400, "InvalidBlockList"};
        }
        parts.push_back(found->second.first);
        fresh.size += found->second.second;
    }
    if (std::ranges::all_of(parts, [](const Content& part) { return part != nullptr; })) {
        auto whole = std::make_shared<Buffer>(fresh.size);
        std::size_t at = 0;
        for (const Content& part : parts) {
            std::copy_n(part->view().begin(), part->view().size(), whole->data() + at);
            at += part->size();
        }
        fresh.content = std::move(whole);
    }
    Reply reply = store(request, target, std::move(fresh));
    if (reply.status == 201) {
        add_checksum(reply, request, request.body_crc);
    }
    return reply;
}

Reply Service::get_blob(const Request& request, const Blob& blob, bool with_body) {
    if (auto refused = check_read_conditions(request, blob)) {
        return *refused;
    }
    if (auto refused = blob.lease.check_read(request.header("x-ms-lease-id"), time_.steady_ns())) {
        return *refused;
    }
    const auto range = range_of(request);
    if (!range || (with_body && range->has_value() && (*range)->first >= blob.size)) {
        return {416, "InvalidRange"};
    }
    const bool partial = with_body && range->has_value();
    const std::uint64_t first = partial ? (*range)->first : 0;
    const std::uint64_t end = partial ? std::min((*range)->last, blob.size - 1) + 1 : blob.size;
    if (with_body && blob.tier == "Archive") {
        return {409, "BlobArchived"};
    }
    Reply reply = changed(blob, partial ? 206 : 200);
    reply.with("x-ms-blob-type", blob.kind == BlobKind::block ? "BlockBlob" : "PageBlob")
        .with("x-ms-lease-state", std::string(blob.lease.state(time_.steady_ns())))
        .with("x-ms-access-tier", blob.tier)
        .with("Accept-Ranges", "bytes");
    for (const auto& [name, value] : blob.metadata) {
        reply.with("x-ms-meta-" + name, value);
    }
    reply.offset = first;
    reply.length = end - first;
    if (!with_body) {
        return reply;
    }
    if (partial) {
        reply.with("Content-Range", "bytes " + std::to_string(first) + "-" +
                                        std::to_string(end - 1) + "/" + std::to_string(blob.size));
    }
    if (blob.kind == BlobKind::page) {
        auto pages = std::make_shared<Buffer>(end - first);
        blob.pages.read(first, {pages->data(), pages->size()});
        reply.content = std::move(pages);
        reply.offset = 0;
    } else if (blob.content == nullptr && blob.size > 0) {
        return {500, "InternalError"};  // The sink threw it away.
    } else {
        reply.content = blob.content;
    }
    if (request.header("x-ms-range-get-content-crc64") == "true") {
        if (!partial || reply.length > range_crc_bytes_max) {
            return {400, "InvalidHeaderValue"};
        }
        const Bytes bytes = reply.content->view().subspan(reply.offset, reply.length);
        reply.with("x-ms-content-crc64", crc64_text(crc64nvme(bytes)));
    }
    return reply;
}

Reply Service::delete_blob(const Request& request, Target target) {
    if (auto refused = refuse_write(request, target)) {
        return *refused;
    }
    target.container.blobs.erase(request.blob);
    return Reply(202);
}

Reply Service::set_metadata(const Request& request, Target target) {
    if (auto refused = check_metadata(request)) {
        return *refused;
    }
    if (auto refused = refuse_write(request, target)) {
        return *refused;
    }
    target.blob->metadata = metadata_of(request);
    touch(*target.blob);
    return changed(*target.blob, 200);
}

Reply Service::set_tier(const Request& request, Blob& blob) {
    const std::string tier(request.header("x-ms-access-tier"));
    if (tier != "Hot" && tier != "Cool" && tier != "Cold" && tier != "Archive") {
        return {400, "InvalidHeaderValue"};
    }
    if (blob.tier == "Archive" && tier != "Archive") {
        return Reply(202);  // Rehydration takes hours: longer than any test.
    }
    blob.tier = tier;
    return Reply(200);
}

Reply Service::set_immutability(const Request& request, Blob& blob) {
    const auto until =
        fake_azure::parse_iso_time(request.header("x-ms-immutability-policy-until-date"));
    const auto date = blob::parse_http_date(request.header("x-ms-immutability-policy-until-date"));
    const auto value = date ? date : until;
    if (!value || *value < blob.immutable_until_s) {
        return {400, "InvalidHeaderValue"};
    }
    blob.immutable_until_s = *value;
    return Reply(200);
}

}  // namespace cw::fake_azure
