// What a person is told while operations keep failing: the condition of the last error, about
// "store". It is cleared when no operation is in trouble any more.
#pragma once

#include "base/conditions.h"

#include <set>

namespace cw::blob {

// Thread-safe: one serves all stores of a factory.
class RetryTrouble {
public:
    // `conditions` outlives this; null: nobody is told.
    explicit RetryTrouble(Conditions* conditions) : conditions_(conditions) {}
    // An operation is in trouble from now on.
    void begin(const Error& error);
    // One that is has failed again.
    void again(const Error& error);
    // One that was has ended.
    void end();

private:
    void raise(const Error& error);

    Conditions* const conditions_;
    std::mutex mutex_;
    std::size_t operations_ = 0;
    std::set<Errc> raised_;
};

}  // namespace cw::blob
