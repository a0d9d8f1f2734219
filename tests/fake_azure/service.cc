#include "tests/fake_azure/service.h"

#include "egress/blob/http_parse.h"
#include "tests/fake_azure/rules.h"

#include <array>

namespace cw::fake_azure {
namespace {

constexpr std::array<std::string_view, 20> operation_names{
    "put_blob",         "get_blob",       "head_blob",        "delete_blob",     "lease_blob",
    "set_metadata",     "set_tier",       "set_immutability", "put_block",       "put_block_list",
    "create_page_blob", "put_page",       "get_page_ranges",  "set_properties",  "list_blobs",
    "create_container", "head_container", "delete_container", "list_containers", "unsupported"};
constexpr std::int64_t container_deletion_ns = 30'000'000'000;

Operation put_operation(const Request& request, std::string_view comp) {
    if (comp.empty()) {
        if (request.has("x-ms-copy-source")) {
            return Operation::unsupported;
        }
        return request.header("x-ms-blob-type") == "PageBlob" ? Operation::create_page_blob
                                                              : Operation::put_blob;
    }
    constexpr std::array<std::pair<std::string_view, Operation>, 8> table{{
        {"lease", Operation::lease_blob},
        {"metadata", Operation::set_metadata},
        {"tier", Operation::set_tier},
        {"immutabilityPolicies", Operation::set_immutability},
        {"block", Operation::put_block},
        {"blocklist", Operation::put_block_list},
        {"page", Operation::put_page},
        {"properties", Operation::set_properties},
    }};
    for (const auto& [name, operation] : table) {
        if (comp == name) {
            return operation;
        }
    }
    return Operation::unsupported;
}

Operation container_operation_of(const Request& request, std::string_view comp) {
    const bool container = request.parameter("restype") == "container";
    if (!container || (!comp.empty() && comp != "list")) {
        return Operation::unsupported;
    }
    if (comp == "list") {
        return request.method == "GET" ? Operation::list_blobs : Operation::unsupported;
    }
    if (request.method == "PUT") {
        return Operation::create_container;
    }
    if (request.method == "DELETE") {
        return Operation::delete_container;
    }
    return request.method == "GET" || request.method == "HEAD" ? Operation::head_container
                                                               : Operation::unsupported;
}

}  // namespace

std::string_view name_of(Operation operation) {
    return operation_names[static_cast<std::size_t>(operation)];
}

Operation operation_of(const Request& request) {
    const std::string_view comp = request.parameter("comp");
    if (request.container.empty()) {
        return request.method == "GET" && comp == "list" ? Operation::list_containers
                                                         : Operation::unsupported;
    }
    if (request.blob.empty()) {
        return container_operation_of(request, comp);
    }
    if (request.method == "PUT") {
        return put_operation(request, comp);
    }
    if (request.method == "GET" && comp == "pagelist") {
        return Operation::get_page_ranges;
    }
    if (!comp.empty()) {
        return Operation::unsupported;
    }
    if (request.method == "GET") {
        return Operation::get_blob;
    }
    if (request.method == "HEAD") {
        return Operation::head_blob;
    }
    return request.method == "DELETE" ? Operation::delete_blob : Operation::unsupported;
}

Demand demand_of(Operation operation) {
    switch (operation) {
        case Operation::get_blob:
        case Operation::head_blob:
        case Operation::get_page_ranges:
            return {"r", 'o'};
        case Operation::delete_blob:
            return {"d", 'o'};
        case Operation::put_blob:
        case Operation::create_page_blob:
            return {"wc", 'o'};
        case Operation::list_blobs:
            return {"l", 'c'};
        case Operation::create_container:
            return {"wc", 'c'};
        case Operation::head_container:
            return {"r", 'c'};
        case Operation::delete_container:
            return {"d", 'c'};
        case Operation::list_containers:
            return {"l", 's'};
        default:
            return {"w", 'o'};
    }
}

Reply Service::handle(Operation operation, Request& request) {
    if (operation == Operation::unsupported) {
        return {501, "APINotImplemented"};
    }
    if (auto refused = check_body(request)) {
        return *refused;
    }
    const std::lock_guard guard(account_.mutex);
    if (operation == Operation::list_containers) {
        return list_containers(request);
    }
    if (auto refused = check_container_name(request.container)) {
        return *refused;
    }
    if (request.blob.empty()) {
        return container_operation(operation, request);
    }
    if (auto refused = check_blob_name(request.blob)) {
        return *refused;
    }
    Container* container = account_.find(request.container, time_.steady_ns());
    if (container == nullptr) {
        return account_.containers.contains(request.container) ? Reply(409, "ContainerBeingDeleted")
                                                               : Reply(404, "ContainerNotFound");
    }
    return blob_operation(operation, request, *container);
}

Reply Service::container_operation(Operation operation, const Request& request) {
    Container* container = account_.find(request.container, time_.steady_ns());
    if (operation == Operation::create_container) {
        if (container != nullptr) {
            return {409, "ContainerAlreadyExists"};
        }
        if (account_.containers.contains(request.container)) {
            return {409, "ContainerBeingDeleted"};
        }
        account_.containers[request.container].created_s = time_.wall_s();
        return Reply(201)
            .with("ETag", "\"" + account_.make_etag() + "\"")
            .with("Last-Modified", blob::format_http_date(time_.wall_s()));
    }
    if (container == nullptr) {
        return {404, "ContainerNotFound"};
    }
    if (operation == Operation::list_blobs) {
        return list_blobs(request, *container);
    }
    if (operation == Operation::delete_container) {
        container->blobs.clear();
        container->deleted_until_ns = time_.steady_ns() + container_deletion_ns;
        return Reply(202);
    }
    return Reply(200).with("Last-Modified", blob::format_http_date(container->created_s));
}

Reply Service::blob_operation(Operation operation, Request& request, Container& container) {
    const auto found = container.blobs.find(request.blob);
    const Target target{container, found == container.blobs.end() ? nullptr : &found->second};
    switch (operation) {
        case Operation::put_blob:
            return put_blob(request, target);
        case Operation::create_page_blob:
            return create_page_blob(request, target);
        case Operation::put_block:
            return put_block(request, target);
        case Operation::put_block_list:
            return put_block_list(request, target);
        default:
            break;
    }
    if (target.blob == nullptr) {
        return {404, "BlobNotFound"};
    }
    switch (operation) {
        case Operation::get_blob:
            return get_blob(request, *target.blob, true);
        case Operation::head_blob:
            return get_blob(request, *target.blob, false);
        case Operation::delete_blob:
            return delete_blob(request, target);
        case Operation::lease_blob:
            return target.blob->lease.apply(request, time_.steady_ns());
        case Operation::set_metadata:
            return set_metadata(request, target);
        case Operation::set_tier:
            return set_tier(request, *target.blob);
        case Operation::set_immutability:
            return set_immutability(request, *target.blob);
        case Operation::put_page:
            return put_page(request, target);
        case Operation::get_page_ranges:
            return get_page_ranges(request, *target.blob);
        case Operation::set_properties:
            return set_properties(request, target);
        default:
            return {501, "APINotImplemented"};
    }
}

std::optional<Reply> Service::refuse_write(const Request& request, const Target& target) {
    if (auto refused = check_write_conditions(request, target.blob)) {
        return refused;
    }
    const std::string_view lease_id = request.header("x-ms-lease-id");
    if (target.blob == nullptr) {
        return lease_id.empty() ? std::nullopt
                                : std::optional(Reply(412, "LeaseNotPresentWithBlobOperation"));
    }
    if (auto refused = target.blob->lease.check_write(lease_id, time_.steady_ns())) {
        return refused;
    }
    if (immutable(target.container, *target.blob)) {
        return Reply(409, "BlobImmutableDueToPolicy");
    }
    return std::nullopt;
}

bool Service::immutable(const Container& container, const Blob& blob) const {
    const std::int64_t now_s = time_.wall_s();
    return now_s < blob.immutable_until_s ||
           (container.retention_s > 0 && now_s < blob.modified_s + container.retention_s);
}

void Service::touch(Blob& blob) {
    blob.etag = account_.make_etag();
    blob.modified_s = time_.wall_s();
    blob.lease.written(time_.steady_ns());
}

Reply Service::changed(const Blob& blob, int status) const {
    Reply reply(status);
    reply.with("ETag", "\"" + blob.etag + "\"")
        .with("Last-Modified", blob::format_http_date(blob.modified_s));
    if (blob.kind == BlobKind::page) {
        reply.with("x-ms-blob-sequence-number", std::to_string(blob.sequence_number));
    }
    return reply;
}

void Service::set_worm(const std::string& container, std::int64_t retention_s) {
    const std::lock_guard guard(account_.mutex);
    account_.containers[container].retention_s = retention_s;
}

bool Service::set_leased(const std::string& container, const std::string& name, bool leased) {
    const std::lock_guard guard(account_.mutex);
    Container* found = account_.find(container, time_.steady_ns());
    if (found == nullptr || !found->blobs.contains(name)) {
        return false;
    }
    found->blobs[name].lease.set(leased);
    return true;
}

bool Service::flip_bit(const std::string& container, const std::string& name, std::uint64_t bit) {
    const std::lock_guard guard(account_.mutex);
    Container* found = account_.find(container, time_.steady_ns());
    if (found == nullptr || !found->blobs.contains(name) || !found->blobs[name].content ||
        found->blobs[name].size == 0) {
        return false;
    }
    Blob& blob = found->blobs[name];
    auto damaged = std::make_shared<Buffer>(blob.content->size());
    std::memcpy(damaged->data(), blob.content->view().data(), damaged->size());
    damaged->data()[bit / 8 % damaged->size()] ^= static_cast<std::byte>(1U << (bit % 8));
    blob.content = std::move(damaged);
    return true;
}

void Service::clear() {
    const std::lock_guard guard(account_.mutex);
    account_.containers.clear();
}

}  // namespace cw::fake_azure
