#include "ingest/mode_news.h"

#include <algorithm>
#include <utility>

namespace cw::ingest {
namespace {

constexpr std::int64_t at_once = 16, each_ns = ns_per_s / 16;

}  // namespace

std::optional<ModeNews::News> ModeNews::next(Nanos now) {
    if ((!mode_ && unread_.empty()) || paid_until_ - now > (at_once - 1) * each_ns) {
        return std::nullopt;
    }
    paid_until_ = std::max(paid_until_, now) + each_ns;
    if (mode_) {
        return std::exchange(mode_, std::nullopt).value();
    }
    return unread_.extract(unread_.begin()).mapped();
}

}  // namespace cw::ingest
