#include "tests/sim/trace.h"

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
    constexpr std::size_t kept = 40;
    char line[160];
    std::snprintf(line, sizeof line, "%12.6f  %.*s %llu %llu", static_cast<double>(now_ns) / 1e9,
                  static_cast<int>(what.size()), what.data(), static_cast<unsigned long long>(a),
                  static_cast<unsigned long long>(b));
    if (print_) {
        std::printf("%s\n", line);
    }
    last_.emplace_back(line);
    if (last_.size() > kept) {
        last_.pop_front();
    }
}

}  // namespace cw::sim
