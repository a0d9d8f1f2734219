#include "tests/architecture/source_tree.h"

#include <map>
#include <optional>
#include <regex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

using Table = std::map<std::string, std::set<std::string>>;

// CW_MAY_DEPEND_<room> of the top CMakeLists.txt: one table for CMake and for us.
Table may_depend() {
    Table table;
    const std::regex row(R"re(set\(CW_MAY_DEPEND_(\w+) "?([\w ]*)"?\))re");
    for (const std::string& line : lines_of(read_text("CMakeLists.txt"))) {
        std::smatch match;
        if (std::regex_search(line, match, row)) {
            const auto words = words_of(match[2].str());
            table[match[1]] = {words.begin(), words.end()};
        }
    }
    return table;
}

// The room a path belongs to; nothing for tests, bench and what is no room of ours.
std::optional<std::string> room_of(const std::string& path, const Table& table) {
    for (const std::string prefix :
         {"ingest/wire/", "egress/blob/", "egress/vault/", "egress/upload/", "egress/volume/"}) {
        if (path.starts_with(prefix)) {
            return prefix.substr(7, prefix.size() - 8);
        }
    }
    const std::string top = path.substr(0, path.find('/'));
    return table.contains(top) ? std::optional(top) : std::nullopt;
}

struct Include {
    std::string path;
    bool ours;  // "…", not <…>
};

std::vector<Include> includes_of(const std::string& file) {
    std::vector<Include> includes;
    const std::regex directive(R"re(^\s*#\s*include\s*(["<])([^">]+)[">])re");
    for (const std::string& line : lines_of(read_text(file))) {
        std::smatch match;
        if (std::regex_search(line, match, directive)) {
            includes.push_back({match[2], match[1] == "\""});
        }
    }
    return includes;
}

TEST(Rooms, IncludeOnlyWhatTheTableAllows) {
    const Table table = may_depend();
    int checked = 0;
    for (const std::string& file : cpp_files()) {
        const auto room = room_of(file, table);
        if (!room) {
            continue;
        }
        for (const Include& include : includes_of(file)) {
            if (!include.ours) {
                continue;
            }
            ++checked;
            const auto target = room_of(include.path, table);
            EXPECT_TRUE(target && (*target == *room || table.at(*room).contains(*target)))
                << file << " includes \"" << include.path << "\": " << *room
                << " may not depend on " << target.value_or("what is outside the rooms");
        }
    }
    EXPECT_GT(checked, 100);
}

TEST(Rooms, TheTableHasNoCycle) {
    const Table table = may_depend();
    ASSERT_GE(table.size(), 13U);
    std::set<std::string> settled;
    for (bool progress = true; progress;) {
        progress = false;
        for (const auto& [room, targets] : table) {
            if (!settled.contains(room) && std::ranges::includes(settled, targets)) {
                progress = settled.insert(room).second;
            }
        }
    }
    EXPECT_EQ(settled.size(), table.size());
}

TEST(Rooms, HeadersIncludeNoHeavyThirdParty) {
    // nlohmann/json_fwd.hpp only declares: it is made for headers.
    const std::regex heavy(
        R"(^(nlohmann/json\.hpp|spdlog|fmt|CLI|toml\+\+|pugixml|prometheus|httplib))");
    for (const std::string& file : cpp_files()) {
        if (!file.ends_with(".h") || file.starts_with("tests/") || file.starts_with("bench/")) {
            continue;
        }
        for (const Include& include : includes_of(file)) {
            EXPECT_FALSE(std::regex_search(include.path, heavy))
                << file << " includes <" << include.path << ">: keep it in a .cc file";
        }
    }
}

TEST(Rooms, HeadersAreGuarded) {
    for (const std::string& file : cpp_files()) {
        const std::string text = read_text(file);
        // What expands a table of rows is included again and again on purpose.
        if (file.ends_with(".h") && text.find("\n#undef CW_") == std::string::npos) {
            EXPECT_THAT(text, testing::HasSubstr("\n#pragma once\n")) << file;
        }
    }
}

}  // namespace
}  // namespace cw::architecture
