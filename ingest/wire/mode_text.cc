#include "ingest/wire/mode_text.h"

namespace cw::wire {

std::string_view name_of(ReplicationMode mode) noexcept {
    switch (mode) {
        case ReplicationMode::data:
            return "data";
        case ReplicationMode::metadata:
            return "metadata";
        case ReplicationMode::bitmap:
            return "bitmap";
    }
    return "unknown";
}

}  // namespace cw::wire
