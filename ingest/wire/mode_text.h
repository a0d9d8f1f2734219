// How much of what is written an agent can send, in people's words.
#pragma once

#include "ingest/wire/messages.h"

#include <string_view>

namespace cw::wire {

// "data", "metadata", "bitmap".
std::string_view name_of(ReplicationMode mode) noexcept;

}  // namespace cw::wire
