// ModeNews: what an agent says of its mode (MODE, EXTENTS), no oftener than anybody can read it.
//
// A peer may repeat both as fast as it can send; of each only the newest is kept, and told on at
// most 16 a second (16 at once). A MODE makes the lists before it worthless. Thread-safety: none;
// the session's thread.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "ingest/wire/messages.h"

#include <cstdint>
#include <map>
#include <optional>
#include <variant>

namespace cw::ingest {

class ModeNews {
public:
    struct Unread {  // A disk's list, as far as people want to know it.
        DiskId disk;
        std::uint64_t bytes = 0;
        std::uint32_t ranges = 0;
    };
    using News = std::variant<wire::Mode, Unread>;

    void take(wire::Mode mode) {
        mode_ = std::move(mode);
        unread_.clear();
    }
    // Of disks of the session only: that bounds what is kept.
    void take(const Unread& unread) { unread_[unread.disk] = unread; }
    // The next thing to tell on now, the mode before the lists; nullopt: nothing, or not yet.
    std::optional<News> next(Nanos now);

private:
    std::optional<wire::Mode> mode_;
    std::map<DiskId, Unread> unread_;
    Nanos paid_until_{};  // Each thing that is told costs a sixteenth of a second.
};

}  // namespace cw::ingest
