// SpooledNotes: what reactors are to be told, gathered until their rings have room. One note per
// history and session stands for any number of records, so a slow reactor costs no memory.
// Thread-safety: none.
#pragma once

#include "cache/stream_table.h"
#include "pipeline/messages.h"
#include "pipeline/ring.h"

#include <functional>
#include <map>
#include <span>
#include <tuple>

namespace cw::cache {

class SpooledNotes {
public:
    // The note for this history and session on its way to `reactor`; made if absent.
    pipeline::Spooled& note(std::uint32_t reactor, const StreamKey& key, SessionId session);
    // Pushes what the rings take; rings `wake` once per reactor. Returns whether anything moved.
    bool flush(std::span<pipeline::Ring<pipeline::Spooled>* const> rings,
               const std::function<void(std::uint32_t)>& wake);
    [[nodiscard]] bool empty() const noexcept { return notes_.empty(); }

private:
    std::map<std::tuple<std::uint32_t, StreamKey, SessionId>, pipeline::Spooled> notes_;
};

}  // namespace cw::cache
