// Who may not use the control port: everybody who is not an operator.
#include "base/log.h"
#include "tests/hostile/rig.h"

#include <openssl/ssl.h>

namespace cw::hostile {
namespace {

// The first line of the answer to GET `path`, or why there is none.
std::string told(const Target& target, SSL_CTX* context, const std::string& path) {
    auto client = test::TestClient::connect(target.control_port, context);
    if (!client) {
        return to_string(client.error());
    }
    if (const auto shaken = client->handshake(); !shaken) {
        return shaken.error().detail;
    }
    const auto response =
        client->request("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    return response ? std::to_string(response->status) : response.error().detail;
}

// What a peer that is refused hears: it says nothing itself, or its words could reset the
// connection before it has read the alert.
std::string heard(const Target& target, SSL_CTX* context) {
    auto client = test::TestClient::connect(target.control_port, context);
    if (!client) {
        return to_string(client.error());
    }
    if (const auto shaken = client->handshake(); !shaken) {
        return shaken.error().detail;
    }
    const auto frame = client->receive();
    return frame ? "bytes" : frame.error().detail;
}

}  // namespace

void run_control_cases(const Target& target) {
    using Issuer = Forgery::Issuer;
    const std::string op = name_of_role("operator", 7);
    const struct {
        const char* name;
        Forgery forgery;
    } refused[] = {
        {"a machine as an operator", {.names = name_of_machine(7)}},
        {"a process server as an operator", {.names = name_of_role("ps", 7)}},
        {"a master target as an operator", {.names = name_of_role("mt", 7)}},
        {"an operator and a machine at once", {.names = op + "," + name_of_machine(7)}},
        {"a certificate without a name", {.names = ""}},
        {"an operator of another CA", {.names = op, .issuer = Issuer::other_authority}},
        {"a self-signed operator", {.names = op, .issuer = Issuer::itself}},
        {"an expired operator", {.names = op, .until_s = -1}},
        {"an operator for servers only", {.names = op, .usage = "serverAuth"}},
    };
    for (const auto& one : refused) {
        const Context context = forged_context(target, one.forgery, "http/1.1");
        const std::string answer = heard(target, context.get());
        report("control: " + std::string(one.name),
               answer.find("alert") == std::string::npos ? "no alert but " + answer : "");
    }
    const Context nobody = bare_context("http/1.1");
    const std::string bare = heard(target, nobody.get());
    report("control: no certificate", bare.find("alert") == std::string::npos ? bare : "");

    const Context context = forged_context(target, {.names = op}, "http/1.1");
    const std::pair<std::string, std::string> answers[] = {
        {"/v1/status", "200"},
        {"/metrics", "200"},
        {"/v1/../../etc/passwd", "404"},
        {"/v1/%2e%2e/%2e%2e/etc/passwd", "404"},
        {"/v1/status%00.json", "404"},
        {"/v1/" + std::string(4'000, 'a'), "404"},
        {"/v1/" + std::string(10'000, 'a'), "414"},
        {"/v1/sta%0d%0atus", "404"},
        {"/v1/\xe2\x80\xaestatus", "404"},
    };
    for (const auto& [path, status] : answers) {
        const std::string answer = told(target, context.get(), path);
        report("control: an operator asks for " + escape_for_display(path, 40),
               answer == status ? "" : "not " + status + " but " + answer);
    }
}

}  // namespace cw::hostile
