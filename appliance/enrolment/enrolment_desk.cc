#include "appliance/enrolment/enrolment_desk.h"

#include "appliance/order_body.h"
#include "base/assert.h"
#include "base/log.h"
#include "ingest/wire/enrolment.h"

#include <nlohmann/json.hpp>
#include <openssl/ssl.h>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr std::size_t authorities_bytes_max = wire::enrol_bytes_max / 2;
constexpr const char* subject = "enrolment";

// The CA that a machine will meet, as its token names it.
Result<Sha256> authority_of(const TlsFiles& files) {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(
        SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
    CW_ASSERT(context != nullptr);
    CW_TRY(TlsContext::set_up(*context, files));
    return show_authority(*context);
}

Result<TokenTerms> parse_terms(const std::string& body) {
    CW_TRY_ASSIGN(const json order, read_order(body, {{"ttl_s", FieldKind::number},
                                                      {"uses", FieldKind::number},
                                                      {"machine", FieldKind::text}}));
    TokenTerms terms;
    terms.ttl_s = order.value("ttl_s", terms.ttl_s);
    const std::uint64_t uses = order.value("uses", std::uint64_t{terms.uses});
    if (uses > UINT32_MAX || terms.ttl_s > UINT32_MAX) {
        return refuse_order("no token lives that long, or is used that often");
    }
    terms.uses = static_cast<std::uint32_t>(uses);
    if (const auto machine = order.find("machine"); machine != order.end()) {
        CW_TRY_ASSIGN(terms.machine, parse_id<MachineId>(machine->get<std::string>()));
    }
    return terms;
}

}  // namespace

Result<std::unique_ptr<EnrolmentDesk>> EnrolmentDesk::open(EnrolmentOptions options, Seams seams) {
    CW_ASSERT(options.valid_s > 0);
    CW_TRY(check_signer(options.ca_directory, options.tls.ca_file));
    CW_TRY(authority_of(options.tls));
    std::unique_ptr<EnrolmentDesk> desk(new EnrolmentDesk(std::move(options), seams));
    CW_TRY(desk->book_.load());
    return desk;
}

std::int64_t EnrolmentDesk::now_s() const {
    return raw(seams_.clock.wall()) / 1'000'000;
}

Result<std::string> EnrolmentDesk::issue(const std::string& body) {
    CW_TRY_ASSIGN(const TokenTerms terms, parse_terms(body));
    EnrolmentToken token;
    CW_TRY_ASSIGN(token.authority, authority_of(options_.tls));
    const std::lock_guard lock(mutex_);
    CW_TRY_ASSIGN(token.secret, book_.issue(terms, now_s()));
    const TokenEntry entry = book_.list(now_s()).back();
    log_info("enrolment.token.issued",
             {{"token", entry.id()},
              {"uses", entry.uses},
              {"expires_s", entry.expires_s},
              {"machine", terms.machine ? to_string(*terms.machine) : std::string("any")}});
    return json{{"id", entry.id()},
                {"token", token_text(token).reveal()},
                {"expires_s", entry.expires_s},
                {"uses", entry.uses}}
        .dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string EnrolmentDesk::list() {
    const std::lock_guard lock(mutex_);
    json out = json::array();
    for (const TokenEntry& entry : book_.list(now_s())) {
        json machines = json::array();
        for (const TokenGrant& grant : entry.grants) {
            machines.push_back(to_string(grant.machine));
        }
        out.push_back({{"id", entry.id()},
                       {"expires_s", entry.expires_s},
                       {"uses", entry.uses},
                       {"used", entry.grants.size()},
                       {"machine", entry.machine ? to_string(*entry.machine) : ""},
                       {"enrolled", machines}});
    }
    return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::string> EnrolmentDesk::revoke(const std::string& body) {
    CW_TRY_ASSIGN(const json order, read_order(body, {{"id", FieldKind::text, true}}));
    const std::string id = order["id"].get<std::string>();
    const std::lock_guard lock(mutex_);
    CW_TRY(book_.revoke(id));
    log_info("enrolment.token.revoked", {{"token", id}});
    return std::string("{}");
}

// Whose certificate it will be: what the token says, or else the certificate that is renewed.
Result<MachineId> EnrolmentDesk::judge(const EnrolCall& call, const wire::EnrolRequest& request,
                                       const Sha256& key) {
    const std::string& token = request.token.reveal();
    if (token.empty() && call.peer) {
        if (call.peer->role != Role::machine) {
            return fail(Errc::identity_refused, "only machines renew their certificates here");
        }
        return MachineId{call.peer->id};
    }
    CW_TRY_ASSIGN(const auto secret, parse_token_secret(token));
    return book_.redeem(secret.reveal(), key, request.machine, now_s());
}

Result<std::string> EnrolmentDesk::serve(const EnrolCall& call) {
    CW_TRY_ASSIGN(const wire::EnrolRequest request, wire::parse_enrol_request(call.body));
    CW_TRY_ASSIGN(const Sha256 key, request_key_digest(request.csr));
    CW_TRY_ASSIGN(const ByteVector authorities,
                  read_file(seams_.disk, options_.tls.ca_file, authorities_bytes_max));
    CertificateRequest wanted{.identity = {Role::machine, {}},
                              .common_name = request.name.empty() ? "machine" : request.name,
                              .dns_or_ip = {},
                              .valid_seconds = options_.valid_s};
    // What cannot be signed is said before a use is spent.
    CW_TRY(sign_request(options_.ca_directory, request.csr, wanted));
    CW_TRY_ASSIGN(const MachineId machine, judge(call, request, key));
    wanted.identity.id = machine.bytes;
    if (request.name.empty()) {
        wanted.common_name = to_string(machine);
    }
    wire::EnrolAnswer answer{.machine = machine,
                             .certificate = {},
                             .authorities = std::string(as_text(authorities)),
                             .replication_port = options_.replication_port};
    CW_TRY_ASSIGN(answer.certificate, sign_request(options_.ca_directory, request.csr, wanted));
    log_info("enrolment.granted", {{"machine", machine},
                                   {"name", request.name},
                                   {"address", call.address},
                                   {"renewal", request.token.reveal().empty()},
                                   {"key", to_hex(key)}});
    return wire::encode(answer);
}

Result<std::string> EnrolmentDesk::enrol(const EnrolCall& call) {
    const std::lock_guard lock(mutex_);
    if (!limit_.admit(call.address)) {
        seams_.conditions.raise(Errc::server_busy, subject,
                                "too many attempts to enrol, the last from " + call.address);
        return fail(Errc::server_busy, "too many attempts to enrol: come back in a minute");
    }
    auto answer = serve(call);
    if (!answer) {
        if (answer.error().code != Errc::io_error) {  // That was not the machine's fault.
            limit_.failed(call.address);
        }
        log_warning("enrolment.refused", {{"address", call.address}, {"error", answer.error()}});
        if (answer.error().code == Errc::token_refused) {
            // An event and not a state: there is nothing to be mended here.
            const std::string from = "enrolment from " + call.address;
            seams_.conditions.raise(Errc::token_refused, from, answer.error().detail);
            seams_.conditions.clear(Errc::token_refused, from);
        }
    }
    return answer;
}

void EnrolmentDesk::tick() {
    const std::lock_guard lock(mutex_);
    if (!limit_.turning_away()) {
        seams_.conditions.clear(Errc::server_busy, subject);
    }
}

}  // namespace cw::appliance
