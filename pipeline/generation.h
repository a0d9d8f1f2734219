// What a generation (base/ids.h) says of the history that it names.
//
// The high half is its origin: whose state began it. It grows with each agent that begins without
// any state on a disk that has a history already, and with nothing else. The low half counts the
// histories of that origin from 1; one that is 0 names none: so says an agent that has lost only
// its proof, and keeps its origin (docs/decisions/0025).
#pragma once

#include "base/ids.h"

#include <cstdint>

namespace cw::pipeline {

constexpr std::uint64_t origin_of(Generation generation) noexcept {
    return raw(generation) >> 32;
}
constexpr bool names_history(Generation generation) noexcept {
    return static_cast<std::uint32_t>(raw(generation)) != 0;
}
// What an agent says that cannot prove this history any more.
constexpr Generation without_history(Generation generation) noexcept {
    return Generation{origin_of(generation) << 32};
}
constexpr Generation first_of_next_origin(Generation generation) noexcept {
    return Generation{((origin_of(generation) + 1) << 32) + 1};
}

}  // namespace cw::pipeline
