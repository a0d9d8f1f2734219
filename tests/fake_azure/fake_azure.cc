#include "tests/fake_azure/fake_azure.h"

#include "tests/fake_azure/server.h"

#include <array>
#include <ctime>

namespace cw::fake_azure {
namespace {

constexpr std::int64_t day_s = 24 * 3600;

std::string iso_time(std::int64_t unix_s) {
    const std::time_t time = unix_s;
    std::tm parts{};
    gmtime_r(&time, &parts);
    std::array<char, 32> text{};
    const std::size_t n = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return {text.data(), n};
}

}  // namespace

std::uint64_t FakeStats::count(const std::string& op) const {
    std::uint64_t sum = 0;
    for (const auto& [name, codes] : requests) {
        if (op == "*" || op == name) {
            for (const auto& [code, times] : codes) {
                sum += times;
            }
        }
    }
    return sum;
}

FakeAzure::FakeAzure(FakeAzureOptions options)
    : server_(std::make_unique<Server>(std::move(options))) {}

FakeAzure::~FakeAzure() = default;

std::uint16_t FakeAzure::port() const {
    return server_->port;
}

std::string FakeAzure::origin() const {
    return (server_->options.certificate.empty() ? "http" : "https") +
           std::string("://127.0.0.1:") + std::to_string(port());
}

std::string FakeAzure::url() const {
    return origin() + "/" + test_account;
}

std::string FakeAzure::host_style_url() const {
    return (server_->options.certificate.empty() ? "http" : "https") + std::string("://") +
           test_account + ".localhost:" + std::to_string(port());
}

FaultPlan& FakeAzure::faults() {
    return server_->faults;
}

FakeStats FakeAzure::stats() const {
    return server_->stats();
}

void FakeAzure::reset_stats() {
    server_->reset_stats();
}

void FakeAzure::advance(std::int64_t ns) {
    server_->time.advance(ns);
}

void FakeAzure::skew_wall(std::int64_t ns) {
    server_->time.skew_wall(ns);
}

void FakeAzure::set_worm(const std::string& container, std::int64_t retention_s) {
    server_->service.set_worm(container, retention_s);
}

bool FakeAzure::flip_bit(const std::string& container, const std::string& blob, std::uint64_t bit) {
    return server_->service.flip_bit(container, blob, bit);
}

bool FakeAzure::set_leased(const std::string& container, const std::string& blob, bool leased) {
    return server_->service.set_leased(container, blob, leased);
}

void FakeAzure::clear() {
    server_->service.clear();
}

std::string FakeAzure::issue_token(std::int64_t life_s) {
    return server_->authentication.issue_token(server_->time.wall_s() + life_s);
}

std::uint64_t FakeAzure::issue_count() const {
    return server_->authentication.issue_count();
}

void FakeAzure::revoke_tokens() {
    server_->authentication.revoke_tokens();
}

std::string FakeAzure::account_sas(const std::string& permissions) const {
    return make_account_sas(
        {.permissions = permissions, .expiry = iso_time(server_->time.wall_s() + day_s)},
        test_account, server_->authentication.key());
}

std::string FakeAzure::service_sas(const std::string& container,
                                   const std::string& permissions) const {
    return make_service_sas({.permissions = permissions,
                             .expiry = iso_time(server_->time.wall_s() + day_s),
                             .container = container},
                            test_account, server_->authentication.key());
}

}  // namespace cw::fake_azure
