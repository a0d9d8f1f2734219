// tests/fuzz/parsers.txt: nothing that reads text or bytes is left out in silence.
#include "tests/architecture/source_tree.h"

#include <map>
#include <regex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

// Of each line its first word, which is a path, and whether it says more.
std::map<std::string, bool> rows_of(const std::string& list) {
    std::map<std::string, bool> out;
    for (const std::string& line : lines_of(read_text(list))) {
        const std::vector<std::string> words = words_of(line);
        if (!words.empty()) {
            EXPECT_TRUE(out.emplace(words[0], words.size() > 1).second) << words[0] << " twice";
        }
    }
    return out;
}

std::string without_comments(const std::string& text) {
    static const std::regex comment("//[^\n]*");
    return std::regex_replace(text, comment, "");
}

// By the helpers and libraries with which this tree takes text or bytes apart.
std::set<std::string> files_that_read() {
    static const std::regex reads(
        R"(\b(json::parse|from_chars|toml::parse|load_buffer|sscanf|getline|strto\w+|sto(i|l|ul|ull|d))\(|)"
        R"(\bByteReader\b|\b(from_hex|from_base64)\(|\bPEM_read\w*|\bd2i_\w+)");
    std::set<std::string> out;
    for (const std::string& path : cpp_files()) {
        const bool product = !path.starts_with("tests/") && !path.starts_with("bench/");
        if (product && std::regex_search(without_comments(read_text(path)), reads)) {
            out.insert(path);
        }
    }
    return out;
}

TEST(FuzzParsers, EveryFileThatReadsIsMeasuredOrSaysWhyNot) {
    const auto measured = rows_of("tests/fuzz/parsers.txt");
    const auto excused = rows_of("tests/fuzz/unmeasured.txt");
    ASSERT_GT(measured.size(), 60U);
    const auto reading = files_that_read();
    ASSERT_GT(reading.size(), 80U);
    for (const std::string& path : reading) {
        EXPECT_TRUE(measured.contains(path) || excused.contains(path))
            << path
            << " reads text or bytes: list it in tests/fuzz/parsers.txt, and fuzz it, or in "
            << "tests/fuzz/unmeasured.txt, with the reason";
    }
}

TEST(FuzzParsers, NoFileIsMeasuredAndExcusedOrExcusedForNothing) {
    const auto measured = rows_of("tests/fuzz/parsers.txt");
    const auto reading = files_that_read();
    for (const auto& [path, has_reason] : rows_of("tests/fuzz/unmeasured.txt")) {
        EXPECT_TRUE(has_reason) << path << " has no reason";
        EXPECT_FALSE(measured.contains(path)) << path << " is in both lists";
        EXPECT_TRUE(reading.contains(path)) << path << " reads nothing, or is gone";
    }
    for (const auto& [path, has_percent] : measured) {
        EXPECT_FALSE(read_text(path).empty()) << path << " is gone";
    }
}

}  // namespace
}  // namespace cw::architecture
