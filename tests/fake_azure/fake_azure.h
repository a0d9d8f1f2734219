// A strict fake of the Azure Blob service: it refuses what Azure refuses, fails as it is told to,
// and is fast enough to be the sink of benchmarks. See README.md.
//
// In a test:
//     fake_azure::FakeAzure fake({});
//     ... make_azure_factory({.url = fake.url(), .auth = AzureAuth::shared_key, ...})
//     fake.faults().add({.op = "put_blob", .action = Action::timeout_applied, .count = 1});
#pragma once

#include "tests/fake_azure/fault_rules.h"
#include "tests/fake_azure/sas.h"

#include <map>
#include <memory>
#include <string>

namespace cw::fake_azure {

// The account every fake serves; the key is of no use anywhere else.
inline constexpr const char* test_account = "causewaytest";
inline constexpr const char* test_key =
    "Y2F1c2V3YXktdGVzdC1hY2NvdW50LWtleS0wMTIzNDU2Nzg5YWJjZGVmZ2hpams=";

struct FakeAzureOptions {
    std::uint16_t port = 0;                  // 0: any free one.
    bool discard = false;                    // Throw away bodies above 256 KiB after checking them.
    std::string certificate = {}, key = {};  // PEM; both empty: plain http.
    std::uint64_t seed = 1;                  // Of the fault probabilities.
    std::int64_t token_life_s = 3600;
    std::string arc_key_file = {};  // Where the Arc identity endpoint puts its challenge.
    std::string token_file = {};    // Every token that was issued, a line each.
    std::string received_file =
        {};  // Every request as it came, but for what it proves itself with.
};

struct FakeStats {
    std::map<std::string, std::map<std::string, std::uint64_t>> requests;  // By op and code.
    std::map<std::string, std::uint64_t> most_at_once;                     // By "op container".
    std::uint64_t bytes_in = 0, bytes_out = 0, connections = 0;

    // Of all codes; op "*": of all operations.
    [[nodiscard]] std::uint64_t count(const std::string& op) const;
};

// Starts in the constructor, stops in the destructor. Thread-safe.
class FakeAzure {
public:
    explicit FakeAzure(FakeAzureOptions options);
    ~FakeAzure();
    FakeAzure(const FakeAzure&) = delete;
    FakeAzure& operator=(const FakeAzure&) = delete;

    [[nodiscard]] std::uint16_t port() const;
    // "http://127.0.0.1:PORT/causewaytest": path style.
    [[nodiscard]] std::string url() const;
    // "http://causewaytest.localhost:PORT": host style.
    [[nodiscard]] std::string host_style_url() const;
    [[nodiscard]] std::string origin() const;  // "http://127.0.0.1:PORT"

    FaultPlan& faults();
    [[nodiscard]] FakeStats stats() const;
    void reset_stats();

    void advance(std::int64_t ns);    // Leases, dates, tokens, late requests.
    void skew_wall(std::int64_t ns);  // Only the service's date.
    void set_worm(const std::string& container, std::int64_t retention_s);
    bool flip_bit(const std::string& container, const std::string& blob, std::uint64_t bit);
    // An infinite lease, as somebody takes with a tool, or its end. False: there is no such blob.
    bool set_leased(const std::string& container, const std::string& blob, bool leased);
    void clear();  // Forgets all containers.

    std::string issue_token(std::int64_t life_s);
    void revoke_tokens();
    [[nodiscard]] std::uint64_t issue_count() const;  // Tokens issued so far.
    // Query strings valid for a day.
    [[nodiscard]] std::string account_sas(const std::string& permissions = "rwdlac") const;
    [[nodiscard]] std::string service_sas(const std::string& container,
                                          const std::string& permissions = "racwdl") const;

private:
    class Server;
    std::unique_ptr<Server> server_;
};

}  // namespace cw::fake_azure
