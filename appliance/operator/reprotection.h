// Whether the machine that runs now, at the other site, is protected: after a committed failover it
// has the certificate of the old source, so its points are known by what they are made of
// (docs/decisions/0025).
//
// Pure.
#pragma once

#include "appliance/operator/machine_state.h"
#include "recovery/catalog.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::appliance {

// Why the newest point is not one of the machine that runs now, and what to do; nullopt: it is one.
// Each disk of the failover's point must be in it, sent by an agent that began without any state:
// an old source under whose agent a disk got another name sends a disk that was never failed over.
// `without`: disks, by name or id, that the machine goes on without.
std::optional<std::string> still_missing(const recovery::Catalog& catalog,
                                         const MachineRecord& record,
                                         const std::vector<std::string>& without);

}  // namespace cw::appliance
