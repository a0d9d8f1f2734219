// Where an outbox entry's payload lies.
#pragma once

#include "pipeline/record.h"

#include <cstdint>

namespace cw::agent {

struct SpillState {
    enum class Place : std::uint8_t {
        memory,   // Only here.
        moving,   // Handed to the spool, not durable yet.
        disk,     // In the spool; the record here has neither table nor data.
        loading,  // Being read back.
        kept,     // Here and in the spool.
        lost,     // The spool cannot give it back: the disk must catch up from its map.
    };
    Place place = Place::memory;
    pipeline::Lsn lsn{};  // Not 0: a copy lies in the spool.

    [[nodiscard]] bool here() const noexcept {
        return place == Place::memory || place == Place::kept;
    }
};

}  // namespace cw::agent
