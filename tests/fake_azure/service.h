// The Blob service itself: which operation a request is, whether it is allowed, and what it does.
// No sockets, no faults: those are the server's.
#pragma once

#include "tests/fake_azure/account.h"
#include "tests/fake_azure/authentication.h"

namespace cw::fake_azure {

enum class Operation : std::uint8_t {
    put_blob,
    get_blob,
    head_blob,
    delete_blob,
    lease_blob,
    set_metadata,
    set_tier,
    set_immutability,
    put_block,
    put_block_list,
    create_page_blob,
    put_page,
    get_page_ranges,
    set_properties,
    list_blobs,
    create_container,
    head_container,
    delete_container,
    list_containers,
    unsupported,
};
std::string_view name_of(Operation operation);
Operation operation_of(const Request& request);
Demand demand_of(Operation operation);

// Thread-safe.
class Service {
public:
    explicit Service(FakeTime& time) : time_(time) {}

    // The request has been authenticated and its body read.
    Reply handle(Operation operation, Request& request);

    // Retention in seconds of every blob of a container, from its creation; 0: none.
    void set_worm(const std::string& container, std::int64_t retention_s);
    // Damages the stored bytes of a block blob behind everybody's back.
    bool flip_bit(const std::string& container, const std::string& blob, std::uint64_t bit);
    bool set_leased(const std::string& container, const std::string& blob, bool leased);
    void clear();

private:
    struct Target {  // What the path names, looked up.
        Container& container;
        Blob* blob;  // Null: absent.
    };
    Reply container_operation(Operation operation, const Request& request);
    Reply blob_operation(Operation operation, Request& request, Container& container);
    Reply put_blob(Request& request, Target target);
    Reply put_block(Request& request, Target target);
    Reply put_block_list(Request& request, Target target);
    Reply get_blob(const Request& request, const Blob& blob, bool with_body);
    Reply delete_blob(const Request& request, Target target);
    Reply set_metadata(const Request& request, Target target);
    Reply set_tier(const Request& request, Blob& blob);
    Reply set_immutability(const Request& request, Blob& blob);
    Reply create_page_blob(const Request& request, Target target);
    Reply put_page(const Request& request, Target target);
    Reply get_page_ranges(const Request& request, const Blob& blob);
    Reply set_properties(const Request& request, Target target);
    Reply list_blobs(const Request& request, const Container& container);
    Reply list_containers(const Request& request);
    Reply store(const Request& request, Target target, Blob fresh);
    // Conditions, then lease, then immutability: the order in which the service refuses.
    std::optional<Reply> refuse_write(const Request& request, const Target& target);
    [[nodiscard]] bool immutable(const Container& container, const Blob& blob) const;
    void touch(Blob& blob);
    Reply changed(const Blob& blob, int status) const;

    FakeTime& time_;
    Account account_;
};

}  // namespace cw::fake_azure
