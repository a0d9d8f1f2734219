// Trace: what happened, as a hash (two runs of one seed must agree), as the last events for people,
// and as counts for the fault report. Thread-safety: none.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace cw::sim {

class Trace {
public:
    explicit Trace(bool print) : print_(print) {}
    // `now_ns` orders it for people; everything goes into the hash.
    void event(std::int64_t now_ns, std::string_view what, std::uint64_t a = 0,
               std::uint64_t b = 0);
    // A fault, a kill, a condition: what the report adds up.
    void count(std::string_view what, std::uint64_t n = 1) { counts_[std::string(what)] += n; }
    [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
    [[nodiscard]] std::uint64_t events() const noexcept { return events_; }
    // The last ones, for people.
    [[nodiscard]] std::vector<std::string> last() const;
    [[nodiscard]] const std::map<std::string, std::uint64_t>& counts() const noexcept {
        return counts_;
    }

private:
    struct Event {
        std::int64_t now_ns = 0;
        std::string what;
        std::uint64_t a = 0, b = 0;
    };
    static std::string text_of(const Event& event);
    void mix(std::uint64_t value) noexcept {
        hash_ = (hash_ ^ value) * 0x100000001b3ULL;
        hash_ ^= hash_ >> 29;
    }
    bool print_;
    std::uint64_t hash_ = 0xcbf29ce484222325ULL, events_ = 0;
    std::array<Event, 40> last_;  // By number; text only when somebody asks.
    std::map<std::string, std::uint64_t> counts_;
};

}  // namespace cw::sim
