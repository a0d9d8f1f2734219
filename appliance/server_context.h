// What main makes once and every part of a server shares. All of it outlives the server.
#pragma once

#include "appliance/vault_access.h"
#include "base/conditions.h"
#include "base/ids.h"
#include "base/revocation.h"

#include <memory>

namespace cw::appliance {

struct ServerContext {
    SystemSeams& seams;
    Conditions& conditions;
    ServerId server;
    std::shared_ptr<const RevocationList> revoked;  // Main reloads it; every door asks it.
};

}  // namespace cw::appliance
