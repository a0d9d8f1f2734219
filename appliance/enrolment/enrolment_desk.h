// EnrolmentDesk: where machines get their certificates. It gives out tokens for an operator, looks
// at what strangers bring (how often, which token, what request), signs, and says so in the log and
// in events: nothing is granted or refused in silence.
//
// Thread-safety: everything from any thread; one lock.
#pragma once

#include "appliance/enrolment/attempt_limit.h"
#include "appliance/enrolment/token_book.h"
#include "base/conditions.h"
#include "base/tls.h"

#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace cw::wire {
struct EnrolRequest;
}

namespace cw::appliance {

struct EnrolmentOptions {
    std::string book_path;     // Where tokens are kept.
    std::string ca_directory;  // ca.crt and ca.key: what signs.
    TlsFiles tls;              // Of the control port: what a machine meets.
    std::int64_t valid_s = 0;  // Of the certificates given. > 0
    std::uint16_t replication_port = 0;
};

// One request as it came in.
struct EnrolCall {
    std::string address;           // Of the peer.
    std::optional<Identity> peer;  // What its certificate says, if it showed one: verified.
    std::string body;              // wire::EnrolRequest
};

class EnrolmentDesk {
public:
    struct Seams {
        Disk& disk;  // Used by nobody else: from whatever thread calls, under its lock.
        Clock& clock;
        Random& random;
        Conditions& conditions;
    };
    // Errors: config_invalid (the CA may not or cannot sign; the book is damaged), tls_failed,
    // io_error, not_found.
    static Result<std::unique_ptr<EnrolmentDesk>> open(EnrolmentOptions options, Seams seams);

    // For operators; JSON both ways. {"ttl_s":N,"uses":N,"machine":"UUID"}, each may be left out →
    // {"id","token","expires_s","uses"}. Errors: usage, io_error, tls_failed.
    Result<std::string> issue(const std::string& body);
    [[nodiscard]] std::string list();
    // {"id":"…"}. Errors: not_found, usage, io_error.
    Result<std::string> revoke(const std::string& body);

    // For machines → wire::EnrolAnswer. Errors: server_busy, token_refused, identity_refused
    // (certificates are renewed for machines only), usage, io_error, tls_failed.
    Result<std::string> enrol(const EnrolCall& call);

    // Now and then: clears the condition of a flood that is over.
    void tick();

private:
    EnrolmentDesk(EnrolmentOptions options, Seams seams)
        : options_(std::move(options)),
          seams_(seams),
          limit_(seams.clock),
          book_(seams.disk, seams.random, options_.book_path) {}
    Result<MachineId> judge(const EnrolCall& call, const wire::EnrolRequest& request,
                            const Sha256& key);
    Result<std::string> serve(const EnrolCall& call);
    [[nodiscard]] std::int64_t now_s() const;

    const EnrolmentOptions options_;
    Seams seams_;
    std::mutex mutex_;
    AttemptLimit limit_;
    TokenBook book_;
};

}  // namespace cw::appliance
