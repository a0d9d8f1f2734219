// The rings of one reactor: what a role's assembly connects its door with.
#pragma once

#include "ingest/ports.h"
#include "pipeline/messages.h"
#include "pipeline/ring.h"

namespace cw::appliance {

struct ReactorRings {
    pipeline::Ring<pipeline::Record> records{256};
    pipeline::Ring<pipeline::OpenMachine> opens{256};
    pipeline::Ring<ingest::DigestRequest> digests{256};
    pipeline::Ring<ingest::AgentNotice> notices{1024};
    pipeline::Ring<pipeline::MachineOpened> opened{256};
    pipeline::Ring<pipeline::Spooled> spooled{4096};
    pipeline::Ring<pipeline::Committed> committed{1024};
    pipeline::Ring<ingest::DigestReply> digest_replies{256};
};

}  // namespace cw::appliance
