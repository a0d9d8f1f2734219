#include "egress/volume/mounted_file.h"

#include <sstream>

namespace cw::volume {
namespace {

// Blanks and the like stand there as a backslash and three octal digits.
std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || text.size() - i <= 3) {
            out += text[i];
            continue;
        }
        unsigned value = 0;
        for (const char digit : text.substr(i + 1, 3)) {
            value = value * 8 + static_cast<unsigned>(digit - '0');
        }
        out += static_cast<char>(value);
        i += 3;
    }
    return out;
}

}  // namespace

bool is_mounted_file(std::string_view mountinfo, std::string_view major_minor,
                     std::string_view place) {
    std::istringstream lines{std::string(mountinfo)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string id, parent, device, root, point;
        if (words >> id >> parent >> device >> root >> point && device == major_minor &&
            device.starts_with("0:") && root == "/" && unescaped(point) == place) {
            return true;
        }
    }
    return false;
}

}  // namespace cw::volume
