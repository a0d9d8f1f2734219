#include "agent/qemu/qmp_message.h"

#include "base/log.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr int depth_max = 64;

// Deep nesting is refused before the parser recurses into it.
bool too_deep(std::string_view line) {
    int depth = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (quoted) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                quoted = false;
            }
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > depth_max) {
                return true;
            }
        } else if (c == '}' || c == ']') {
            --depth;
        }
    }
    return false;
}

std::string text_of(const json& value, const char* key) {
    const auto it = value.find(key);
    return it != value.end() && it->is_string() ? it->get<std::string>() : std::string{};
}

std::string dump(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

Result<QmpMessage> parse_qmp_message(std::string_view line) {
    const auto refuse = [&](const char* why) {
        return fail(Errc::qmp_failed,
                    std::string(why) + " from the monitor: " + escape_for_display(line, 128));
    };
    if (too_deep(line)) {
        return refuse("too deeply nested JSON");
    }
    const json in = json::parse(line, nullptr, false);
    if (!in.is_object()) {
        return refuse("something that is not a JSON object");
    }
    QmpMessage out;
    if (const auto id = in.find("id"); id != in.end() && id->is_number_unsigned()) {
        out.id = id->get<std::uint64_t>();
    }
    if (in.contains("QMP")) {
        out.kind = QmpMessage::Kind::greeting;
        out.text = dump(in["QMP"]);
    } else if (in.contains("return")) {
        out.kind = QmpMessage::Kind::reply;
        out.text = dump(in["return"]);
    } else if (const auto error = in.find("error"); error != in.end() && error->is_object()) {
        out.kind = QmpMessage::Kind::refusal;
        out.name = text_of(*error, "class");
        out.text = text_of(*error, "desc");
    } else if (out.name = text_of(in, "event"); !out.name.empty()) {
        out.kind = QmpMessage::Kind::event;
        const auto data = in.find("data");
        out.text = data != in.end() ? dump(*data) : "{}";
    } else {
        return refuse("neither reply nor event");
    }
    return out;
}

Result<std::optional<std::string>> QmpLines::next() {
    const std::size_t end = text_.find('\n', std::max(at_, searched_));
    if (end == std::string::npos) {
        text_.erase(0, at_);
        at_ = 0;
        searched_ = text_.size();
        if (text_.size() > qmp_line_bytes_max) {
            return fail(Errc::qmp_failed, "a line of more than 8 MiB from the monitor");
        }
        return std::nullopt;
    }
    std::string line = text_.substr(at_, end - at_);
    at_ = end + 1;
    searched_ = at_;
    // The guest agent may mark a fresh start with 0xFF, which no JSON holds.
    std::erase_if(line, [](char c) { return c == '\r' || c == '\xff'; });
    return line;
}

}  // namespace cw::agent
