#include "tests/sim/trace.h"

#include <algorithm>
#include <cstdio>

namespace cw::sim {

void Trace::event(std::int64_t now_ns, std::string_view what, std::uint64_t a, std::uint64_t b) {
    ++events_;
    mix(static_cast<std::uint64_t>(now_ns));
    for (const char c : what) {
        mix(static_cast<unsigned char>(c));
    }
    mix(a);
    mix(b);
    Event& kept = last_[(events_ - 1) % last_.size()];
    kept.now_ns = now_ns;
    kept.what.assign(what);
    kept.a = a;
    kept.b = b;
    if (print_) {
        std::printf("%s\n", text_of(kept).c_str());
    }
}

std::string Trace::text_of(const Event& event) {
    char numbers[48], time[32];
    std::snprintf(time, sizeof time, "%12.6f", static_cast<double>(event.now_ns) / 1e9);
    std::snprintf(numbers, sizeof numbers, " %llu %llu", static_cast<unsigned long long>(event.a),
                  static_cast<unsigned long long>(event.b));
    return std::string(time) + "  " + event.what + numbers;
}

std::vector<std::string> Trace::last() const {
    std::vector<std::string> out;
    for (std::uint64_t at = events_ - std::min<std::uint64_t>(events_, last_.size()); at < events_;
         ++at) {
        out.push_back(text_of(last_[at % last_.size()]));
    }
    return out;
}

}  // namespace cw::sim
