#include "ingest/window_watch.h"

#include <string>

namespace cw::ingest {
namespace {

constexpr const char* subject = "cache";

}  // namespace

WindowWatch::~WindowWatch() {
    if (shown_) {
        conditions_.clear(Errc::server_busy, subject);
    }
}

void WindowWatch::tick(Nanos now) {
    const CreditPolicy::Windows windows = credit_.least_windows();
    // A cache that is full of data says so itself.
    const bool is_short =
        windows.wanted > windows.fitting && !conditions_.standing(Errc::spool_full);
    if (is_short == shown_ || raw(agreed_) == 0) {
        agreed_ = now;
        return;
    }
    if (now - agreed_ < hold_ns) {
        return;
    }
    shown_ = is_short;
    agreed_ = now;
    if (!is_short) {
        conditions_.clear(Errc::server_busy, subject);
        return;
    }
    conditions_.raise(Errc::server_busy, subject,
                      std::to_string(windows.wanted) +
                          " connections need 8 MiB of the cache each, " + "there is room for " +
                          std::to_string(windows.fitting) +
                          ": raise cache.size, or move machines to another server");
}

}  // namespace cw::ingest
