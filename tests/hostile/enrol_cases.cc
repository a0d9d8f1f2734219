// The matrix of the control port: who comes, by which protocol name, to which endpoint. Enrolment
// lets in who has no certificate, and must not become a way to anything else.
#include "base/enrolment.h"
#include "tests/hostile/rig.h"

#include <openssl/ssl.h>

namespace cw::hostile {
namespace {

struct Guest {
    std::string name;
    Context context;
};

std::string post(const std::string& path, const std::string& body) {
    return "POST " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string get(const std::string& path) {
    return "GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
}

// The status of the answer to `words`; empty: the guest listens only, so that it hears the alert.
std::string told(const Target& target, SSL_CTX* context, const std::string& words) {
    auto client = test::TestClient::connect(target.control_port, context);
    if (!client) {
        return to_string(client.error());
    }
    if (const auto shaken = client->handshake(); !shaken) {
        return shaken.error().detail;
    }
    if (words.empty()) {
        const auto frame = client->receive();
        return frame ? "bytes" : frame.error().detail;
    }
    const auto response = client->request(words);
    return response ? std::to_string(response->status) : response.error().detail;
}

std::vector<Guest> guests(const Target& target, std::string_view protocol, bool admitted) {
    using Issuer = Forgery::Issuer;
    const auto forged = [&](const Forgery& forgery) {
        return forged_context(target, forgery, protocol);
    };
    std::vector<Guest> out;
    const bool by_enrolment = protocol == enrolment_alpn;
    if (by_enrolment == admitted) {
        out.push_back({"nobody", bare_context(protocol)});
        out.push_back({"a machine", forged({.names = name_of_machine(8)})});
    }
    if (!admitted) {
        if (by_enrolment) {
            out.push_back({"an operator", forged({.names = name_of_role("operator", 8)})});
        }
        out.push_back({"a process server", forged({.names = name_of_role("ps", 8)})});
        out.push_back({"a master target", forged({.names = name_of_role("mt", 8)})});
        out.push_back({"an expired machine", forged({.names = name_of_machine(8), .until_s = -1})});
        out.push_back({"a machine of another CA",
                       forged({.names = name_of_machine(8), .issuer = Issuer::other_authority})});
        out.push_back({"a machine and an operator at once",
                       forged({.names = name_of_machine(8) + "," + name_of_role("operator", 8)})});
    }
    return out;
}

void expect(const Target& target, const Guest& guest, std::string_view protocol,
            const std::string& words, const std::string& wanted) {
    const std::string answer = told(target, guest.context.get(), words);
    const std::string what = words.empty() ? "is refused" : words.substr(0, words.find(" HTTP"));
    const std::string by = protocol.empty() ? "no protocol name" : std::string(protocol);
    report("enrol: " + guest.name + " by " + by + ": " + what,
           answer.find(wanted) == std::string::npos ? "not " + wanted + " but " + answer : "");
}

}  // namespace

void run_enrol_cases(const Target& target) {
    const std::string orders[] = {
        get("/v1/status"),
        get("/v1/events"),
        get("/v1/enrol-tokens"),
        get("/metrics"),
        get("/v1/enrol"),
        get("/"),
        get("/v1/../v1/status"),
        post("/v1/reload", "{}"),
        post("/v1/enrol-token", "{}"),
        post("/v1/enrol-token-revoke", "{\"id\":\"x\"}"),
        post("/v1/enrol/../reload", "{}"),
        "POST /v1/enrol HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n",
        "PUT /v1/enrol HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    };
    for (const Guest& guest : guests(target, enrolment_alpn, true)) {
        for (const std::string& order : orders) {
            expect(target, guest, enrolment_alpn, order, "40");
        }
        expect(target, guest, enrolment_alpn, post("/v1/enrol", "{\"csr\":\"../../x\"}"), "400");
    }
    for (const std::string_view protocol :
         {std::string_view("http/1.1"), std::string_view(),
          std::string_view("causeway-enrolment/2"), std::string_view(enrolment_alpn)}) {
        for (const Guest& guest : guests(target, protocol, false)) {
            expect(target, guest, protocol, "", "alert");
        }
    }
    const Guest op{"an operator",
                   forged_context(target, {.names = name_of_role("operator", 8)}, "http/1.1")};
    expect(target, op, "http/1.1", post("/v1/enrol", "{}"), "404");
    expect(target, op, "http/1.1", get("/v1/enrol-tokens"), "200");
}

}  // namespace cw::hostile
