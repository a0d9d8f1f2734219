// ServerChoice: which of an agent's servers the next attempt goes to. Taking a machine over costs a
// new epoch, and points that only the former server holds: so a server that has served is tried
// again, `patience` times, before another one is; with the pauses of RetryPolicy that is about 15
// seconds, plus the time limits of attempts that nobody answers. One that has not served yet is
// tried once, then the next in turn. Pure. Thread-safety: none.
#pragma once

#include "base/assert.h"

#include <cstddef>

namespace cw::agent {

class ServerChoice {
public:
    static constexpr unsigned patience = 3;

    explicit ServerChoice(std::size_t servers) : servers_(servers) { CW_ASSERT(servers > 0); }

    // An attempt begins; the one before it, and its session if there was one, are over.
    std::size_t next() {
        if (serves_) {
            failures_ = 0;
        } else if (tried_) {
            ++failures_;
        }
        const unsigned limit = home_ ? patience : 1;
        if (tried_ && (sent_away_ || failures_ >= limit)) {
            at_ = (at_ + 1) % servers_;
            home_ = false;
            failures_ = 0;
        }
        tried_ = true;
        serves_ = sent_away_ = false;
        return at_;
    }
    // The session goes well: not WELCOME alone, a server may be unable to do more.
    void served() noexcept { serves_ = home_ = true; }
    // The server has said that the machine belongs to another one.
    void sent_away() noexcept { sent_away_ = true; }

private:
    std::size_t servers_, at_ = 0;
    unsigned failures_ = 0;
    bool tried_ = false, serves_ = false, sent_away_ = false;
    bool home_ = false;  // It has served since it is the one.
};

}  // namespace cw::agent
