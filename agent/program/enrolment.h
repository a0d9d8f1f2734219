// How a machine gets its certificate from a server, and keeps it: a key that is made here and never
// leaves, a token that an operator gave, the server's CA as the token names it. What comes of it
// lies in the state directory, where `protect` finds it:
//   machine.pem      key and certificate in one file (0600), so that they are replaced together
//   ca.crt           whom to trust
//   enrolment.json   where the server is, and who this machine is
//   enrol.key        the key of an attempt that has not ended: a repeated one spends no second use
#pragma once

#include "base/disk.h"
#include "base/net.h"
#include "base/tls.h"

#include <optional>
#include <string>

namespace cw::agent {

struct EnrolCommand {
    std::string state_directory;
    HostPort server;         // The control port.
    std::string token_file;  // "-": standard input.
    std::string name;        // For people.
    std::int64_t timeout_ns = 0;
    bool renew = false;  // With the certificate that is there; server and token are not needed.
};

struct Enrolment {
    HostPort control, replication;
    MachineId machine;
    TlsFiles files;
};

// What an earlier enrolment left. Errors: not_found (there was none), config_invalid, io_error.
Result<Enrolment> read_enrolment(Disk& disk, const std::string& state_directory);

// Blocking; a busy or silent server is asked again until the timeout. Nothing is sent to a server
// that does not have the token's CA. Errors: token_refused, tls_failed, server_busy, unreachable,
// usage, certificate_expired (renewal came too late), identity_refused, io_error.
Result<Enrolment> enrol(Disk& disk, const EnrolCommand& command);
Result<Enrolment> renew(Disk& disk, const std::string& state_directory);

// Seconds that the certificate is valid still, and a third of what it was in all.
struct Validity {
    std::int64_t left_s, third_s;
};
Result<Validity> validity_of(const TlsFiles& files, std::int64_t now_s);

}  // namespace cw::agent
