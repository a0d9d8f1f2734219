// What every hostile case needs: where the server is, contexts to reach it with, and how a case is
// counted: "PASS name" or "FAIL name: what happened instead", one line each.
#pragma once

#include "tests/hostile/forge.h"
#include "tests/ingest/test_client.h"

#include <memory>
#include <string>

namespace cw::hostile {

struct Target {
    std::uint16_t port = 0, control_port = 0;
    std::string pki;          // ca.crt and ca.key
    std::string victim_disk;  // A disk of the honest machine, as a UUID.
    std::string revoked;      // Prefix of a certificate and key that the server's list names.
    std::size_t count = 0;    // crowd, storm
};

using Context = std::shared_ptr<SSL_CTX>;

// A client that verifies nobody and names `protocol`; empty: none.
Context bare_context(std::string_view protocol = replication_alpn);
// One that shows a sound certificate of machine `seed`.
Context machine_context(const Target& target, std::uint64_t seed);
Context forged_context(const Target& target, const Forgery& forgery,
                       std::string_view protocol = replication_alpn);

// Connect, handshake, upgrade; HELLO was not said.
Result<test::TestClient> upgraded(const Target& target, std::uint64_t seed);
// And HELLO with one disk that belongs to nobody else.
Result<test::TestClient> open_session(const Target& target, std::uint64_t seed);
wire::Hello hello_of(std::uint64_t seed);
// The code of the ERROR that comes next, or why none did.
std::string error_of(Result<test::TestClient>& client);

// Counts and prints. `failure` empty: passed.
void report(const std::string& name, const std::string& failure);
// How many cases have failed so far.
int failures();

// The groups; each prints its cases.
void run_tls_cases(const Target& target);
void run_control_cases(const Target& target);
void run_enrol_cases(const Target& target);
void run_frame_cases(const Target& target);
void run_stream_cases(const Target& target);
void run_name_cases(const Target& target);
void run_slow_cases(const Target& target);
void run_crowd(const Target& target);
void run_storm(const Target& target);

}  // namespace cw::hostile
