// Where an outbox entry's payload lies.
#pragma once

#include "pipeline/record.h"

#include <cstdint>

namespace cw::agent {

struct SpillState {
    enum class Place : std::uint8_t {
        memory,
        moving,   // Handed to the spool, not durable yet.
        disk,     // In the spool; the record here has neither table nor data.
        loading,  // Being read back.
    };
    Place place = Place::memory;
    bool kept = false;  // Also in the spool while place is memory: release it there.
    pipeline::Lsn lsn{};
};

}  // namespace cw::agent
