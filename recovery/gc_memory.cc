// The text in which a GcMemory is kept: a line each, the segment's name and since when.
#include "egress/vault/names.h"
#include "recovery/gc.h"

#include <charconv>

namespace cw::recovery {

std::string to_text(const GcMemory& memory) {
    std::string out;
    for (const auto& [name, since] : memory.unnamed_since) {
        out += segment_blob(name).name + ' ' + std::to_string(raw(since)) + '\n';
    }
    return out;
}

GcMemory parse_gc_memory(std::string_view text) {
    GcMemory memory;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        const auto space = line.find(' ');
        if (space == std::string_view::npos) {
            continue;
        }
        const std::string_view number = line.substr(space + 1);
        std::int64_t since = 0;
        const auto parsed = std::from_chars(number.data(), number.data() + number.size(), since);
        const auto name =
            vault::parse_segment_blob({blob::Container::data, std::string(line.substr(0, space))});
        if (name && parsed.ec == std::errc{} && parsed.ptr == number.data() + number.size()) {
            memory.unnamed_since.emplace(*name, WallMicros{since});
        }
    }
    return memory;
}

}  // namespace cw::recovery
