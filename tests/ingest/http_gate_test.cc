// Every answer of the door, by identity, path and load.
#include "ingest/http_gate.h"

#include <gtest/gtest.h>

namespace cw::ingest {
namespace {

wire::HttpRequest upgrade_request() {
    return *wire::parse_request(as_bytes(wire::build_upgrade_request("h")));
}

GateState machine_state() {
    GateState state;
    state.identity = Identity{Role::machine, {std::byte{1}}};
    return state;
}

TEST(HttpGate, AMachineThatAsksToReplicateIsLetIn) {
    const GateAnswer answer = answer_head(upgrade_request(), machine_state());
    EXPECT_EQ(answer.status, 101);
    EXPECT_EQ(answer.bytes, wire::build_upgrade_response());
}

TEST(HttpGate, EveryRefusalHasItsStatusAndAProblemDocument) {
    struct Case {
        int status;
        void (*spoil)(Result<wire::HttpRequest>&, GateState&);
    };
    using Request = Result<wire::HttpRequest>;
    const Case cases[] = {
        {400, [](Request& r, GateState&) { r = fail(Errc::frame_malformed); }},
        {401, [](Request&, GateState& s) { s.identity = fail(Errc::identity_refused); }},
        {403, [](Request&, GateState& s) { s.identity->role = Role::process_server; }},
        {403, [](Request&, GateState& s) { s.identity->role = Role::master_target; }},
        {403, [](Request&, GateState& s) { s.identity->role = Role::operator_; }},
        {404, [](Request& r, GateState&) { r->path = "/v1/replication/"; }},
        {404, [](Request& r, GateState&) { r->path = "/"; }},
        {404, [](Request& r, GateState&) { r->path = "/v1/../v1/replication"; }},
        {426, [](Request& r, GateState&) { r->headers.clear(); }},
        {426, [](Request& r, GateState&) { r->method = "POST"; }},
        {426, [](Request& r, GateState&) { r->headers[2].value = "websocket"; }},
        {426, [](Request& r, GateState&) { r->headers[2].value = "causeway-replication/2"; }},
        {409, [](Request&, GateState& s) { s.clashing = true; }},
        {429, [](Request&, GateState& s) { s.too_often = true; }},
        {503, [](Request&, GateState& s) { s.full = true; }},
        {503, [](Request&, GateState& s) { s.draining = true; }},
    };
    for (const Case& c : cases) {
        Result<wire::HttpRequest> request = upgrade_request();
        GateState state = machine_state();
        c.spoil(request, state);
        const GateAnswer answer = answer_head(request, state);
        EXPECT_EQ(answer.status, c.status) << answer.bytes;
        const auto end = wire::find_head_end(as_bytes(answer.bytes));
        ASSERT_TRUE(end && *end);
        const auto response = wire::parse_response(as_bytes(answer.bytes).first(**end));
        ASSERT_TRUE(response);
        EXPECT_EQ(response->status, c.status);
        EXPECT_EQ(*wire::find_header(response->headers, "Content-Type"),
                  "application/problem+json");
        EXPECT_EQ(*wire::find_header(response->headers, "Connection"), "close");
        EXPECT_EQ(wire::retry_after_of(*response) != 0, c.status == 429 || c.status == 503);
        EXPECT_EQ(wire::lists_token(response->headers, "Upgrade", wire::upgrade_token),
                  c.status == 426);
    }
}

TEST(HttpGate, HealthIsToldToEveryVerifiedIdentityAlsoUnderLoad) {
    wire::HttpRequest request = upgrade_request();
    request.path = wire::healthz_path;
    for (const Role role : {Role::machine, Role::process_server, Role::operator_}) {
        GateState state = machine_state();
        state.identity->role = role;
        state.full = state.too_often = state.draining = true;
        EXPECT_EQ(answer_head(request, state).status, 200);
    }
    EXPECT_EQ(answer_head(request, GateState{}).status, 401);
}

}  // namespace
}  // namespace cw::ingest
