// What is written about the tree is true of the tree: a file that a document or a comment names
// exists.
#include "tests/architecture/source_tree.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <functional>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string>& documents() {
    static const std::vector<std::string> files = files_below("", {".md"});
    return files;
}

// "file.cc" has one, ".cc" has not.
bool has_source_ending(std::string_view name) {
    constexpr std::array<std::string_view, 8> endings{".cc", ".h",   ".md",    ".sh",
                                                      ".py", ".def", ".cmake", ".jsonl"};
    const std::string_view base = name.substr(name.rfind('/') + 1);
    return std::ranges::any_of(endings, [&](auto ending) {
        return base.size() > ending.size() && base.ends_with(ending);
    });
}

bool is_room(const std::string& name) {
    static const std::set<std::string> rooms = [] {
        std::set<std::string> found;
        for (const std::string& file : files_below("", {"README.md"})) {
            found.insert(file.substr(0, file.find('/')));
        }
        found.erase("README.md");
        found.insert("docs");
        return found;
    }();
    return rooms.contains(name);
}

// From the top, or from where `file` is.
bool is_there(const std::string& file, const std::string& path) {
    const fs::path beside = fs::path(file).parent_path() / path;
    return fs::exists(in_tree(path)) || fs::exists(in_tree(beside.string()));
}

bool is_below(const std::string& directory, const std::string& name) {
    return std::ranges::any_of(files_below(directory, {name}), [&](const std::string& path) {
        return fs::path(path).filename() == name;
    });
}

// Calls `what` with every run of letters that a path may have.
void each_word(std::string_view text, const std::function<void(std::string)>& what) {
    const auto is_part = [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
               std::string_view("_./-").contains(c);
    };
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = at;
        while (end < text.size() && is_part(text[end])) {
            ++end;
        }
        std::string_view word = text.substr(at, end - at);
        while (word.ends_with('.')) {  // The end of a sentence.
            word.remove_suffix(1);
        }
        what(std::string(word));
        at = end + 1;
    }
}

TEST(Links, OfDocumentsLeadToFiles) {
    const std::regex link(R"(\]\(([^)\s#]+)[^)]*\))");
    std::size_t count = 0;
    for (const std::string& file : documents()) {
        const std::string text = read_text(file);
        for (auto at = std::sregex_iterator(text.begin(), text.end(), link);
             at != std::sregex_iterator(); ++at) {
            const std::string target = (*at)[1];
            if (!target.contains(':')) {
                ++count;
                const fs::path beside = fs::path(file).parent_path() / target;
                EXPECT_TRUE(fs::exists(in_tree(beside.string()))) << file << " links to " << target;
            }
        }
    }
    EXPECT_GT(count, 10U);
}

// A path that begins with a room is one from the top, wherever it stands.
TEST(Links, AFileThatIsNamedWithItsRoomExists) {
    std::size_t count = 0;
    for (const std::string& file :
         files_below("", {".md", ".cc", ".h", ".sh", ".py", ".def", ".cmake", ".txt", "run"})) {
        each_word(read_text(file), [&](const std::string& word) {
            const std::size_t slash = word.find('/');
            if (slash != std::string::npos && has_source_ending(word) &&
                is_room(word.substr(0, slash))) {
                ++count;
                EXPECT_TRUE(is_there(file, word)) << file << " names " << word;
            }
        });
    }
    EXPECT_GT(count, 1000U);
}

// Without a room it is one of the document's own room.
TEST(Links, AFileThatADocumentQuotesExists) {
    const std::regex quoted(R"(`([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)`)");
    std::size_t count = 0;
    for (const std::string& file : documents()) {
        const std::string text = read_text(file);
        const std::string room = fs::path(file).parent_path().string();
        for (auto at = std::sregex_iterator(text.begin(), text.end(), quoted);
             at != std::sregex_iterator(); ++at) {
            const std::string name = (*at)[1];
            if (has_source_ending(name) ||
                (name.contains('/') && is_room(name.substr(0, name.find('/'))))) {
                ++count;
                EXPECT_TRUE(is_there(file, name) || is_below(room, name))
                    << file << " names " << name;
            }
        }
    }
    EXPECT_GT(count, 100U);
}

}  // namespace
}  // namespace cw::architecture
