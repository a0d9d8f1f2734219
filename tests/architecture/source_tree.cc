#include "tests/architecture/source_tree.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace cw::architecture {
namespace {

namespace fs = std::filesystem;

bool is_skipped(const fs::path& directory) {
    const std::string name = directory.filename().string();
    // A hidden directory belongs to a tool, except the one that holds the CI script.
    return name == "build" || name == "node_modules" || name == "corpus" || name == "golden" ||
           (name.starts_with('.') && name != ".ci");
}

}  // namespace

std::string in_tree(std::string_view relative) {
    return std::string(CAUSEWAY_SOURCE_DIR) + '/' + std::string(relative);
}

std::string read_text(const std::string& relative) {
    std::ifstream file(in_tree(relative), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

std::vector<std::string> files_below(const std::string& directory,
                                     const std::vector<std::string_view>& endings) {
    std::vector<std::string> found;
    const fs::path top(CAUSEWAY_SOURCE_DIR);
    const fs::path start = directory.empty() ? top : top / directory;
    if (!fs::exists(start)) {
        return found;
    }
    constexpr auto options = fs::directory_options::follow_directory_symlink;
    for (fs::recursive_directory_iterator at(start, options), end; at != end; ++at) {
        if (at->is_directory()) {
            if (is_skipped(at->path())) {
                at.disable_recursion_pending();
            }
            continue;
        }
        const std::string name = at->path().filename().string();
        if (std::ranges::any_of(endings, [&](auto ending) { return name.ends_with(ending); })) {
            found.push_back(fs::relative(at->path(), top).string());
        }
    }
    std::ranges::sort(found);
    return found;
}

const std::vector<std::string>& cpp_files() {
    static const std::vector<std::string> files = files_below("", {".h", ".cc"});
    return files;
}

std::vector<std::string> words_of(std::string_view line) {
    std::istringstream stream{std::string(line.substr(0, line.find('#')))};
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
        words.push_back(word);
    }
    return words;
}

}  // namespace cw::architecture
