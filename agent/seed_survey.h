// What a server has of a machine before anything is sent to it: a session that says HELLO, listens
// and goes. Nothing begins at the server by that.
#pragma once

#include "agent/tls_link.h"
#include "base/clock.h"
#include "ingest/wire/messages.h"

#include <vector>

namespace cw::agent {

struct SeedSurvey {
    wire::DiskAction action{};
    std::string reason;
    std::vector<PointId> points;  // The newest ones of the machine that the vault holds.
};

// `hello` names one disk. Blocking, bounded; servers are tried in turn. Errors: those of
// connect_tls(), what the server answers instead of WELCOME, connection_lost.
Result<SeedSurvey> survey_server(const TlsTarget& target, const wire::Hello& hello, Clock& clock);

}  // namespace cw::agent
