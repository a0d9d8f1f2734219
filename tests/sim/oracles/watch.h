// What oracles can see, each through the interface of what it watches. An oracle knows nothing of
// how a promise is kept, only the promise.
#pragma once

#include "cache/spool.h"
#include "pipeline/messages.h"

#include <cstdint>
#include <functional>
#include <string>

namespace cw::sim {

// How often a promise was looked at: one that nobody ever checked was not kept, only not broken.
using Looks = std::uint64_t;

// Called with an oracle's name and what is wrong.
using Complain = std::function<void(std::string oracle, std::string what)>;

}  // namespace cw::sim
