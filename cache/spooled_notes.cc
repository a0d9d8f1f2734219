#include "cache/spooled_notes.h"

#include <optional>

namespace cw::cache {

pipeline::Spooled& SpooledNotes::note(std::uint32_t reactor, const StreamKey& key,
                                      SessionId session) {
    pipeline::Spooled& note = notes_[{reactor, key, session}];
    note.key = key;
    note.session = session;
    return note;
}

bool SpooledNotes::flush(std::span<pipeline::Ring<pipeline::Spooled>* const> rings,
                         const std::function<void(std::uint32_t)>& wake) {
    bool moved = false;
    std::optional<std::uint32_t> full;
    std::optional<std::uint32_t> pushed;
    for (auto it = notes_.begin(); it != notes_.end();) {
        const std::uint32_t reactor = std::get<0>(it->first);
        CW_ASSERT(reactor < rings.size());
        if (full == reactor || !rings[reactor]->try_push(it->second)) {
            full = reactor;
            ++it;
            continue;
        }
        if (pushed && pushed != reactor) {
            wake(*pushed);
        }
        pushed = reactor;
        moved = true;
        it = notes_.erase(it);
    }
    if (pushed) {
        wake(*pushed);
    }
    return moved;
}

}  // namespace cw::cache
