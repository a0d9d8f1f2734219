// docs/fault-coverage.md: complete, and true as far as names go.
#include "tests/architecture/source_tree.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <regex>
#include <set>

#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

constexpr const char* document = "docs/fault-coverage.md";

struct Row {
    std::string id, code, tests;
};

std::vector<Row> rows() {
    std::vector<Row> out;
    const std::regex row(R"(^\| ([A-H]\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$)");
    for (const std::string& line : lines_of(read_text(document))) {
        std::smatch match;
        if (std::regex_match(line, match, row)) {
            out.push_back({match[1], match[2], match[3]});
        }
    }
    return out;
}

std::set<std::string> all_matches(const std::string& text, const std::string& pattern) {
    std::set<std::string> out;
    const std::regex wanted(pattern);
    for (std::sregex_iterator at(text.begin(), text.end(), wanted), end; at != end; ++at) {
        out.insert((*at)[1]);
    }
    return out;
}

// Of each test the text, up to the end of its function.
std::map<std::string, std::string> unit_tests() {
    std::map<std::string, std::string> out;
    const std::regex test(R"(\nTEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\))");
    for (const std::string& path : files_below("tests", {"_test.cc"})) {
        const std::string text = read_text(path);
        for (std::sregex_iterator at(text.begin(), text.end(), test), end; at != end; ++at) {
            const auto begin = static_cast<std::size_t>(at->position());
            out.emplace((*at)[1].str() + "." + (*at)[2].str(),
                        text.substr(begin, text.find("\n}\n", begin) - begin));
        }
    }
    return out;
}

TEST(FaultCoverage, EveryFaultHasItsRow) {
    const std::map<char, int> counts{{'A', 11}, {'B', 17}, {'C', 16}, {'D', 20},
                                     {'E', 11}, {'F', 10}, {'G', 10}, {'H', 10}};
    std::map<std::string, int> seen;
    for (const Row& row : rows()) {
        ++seen[row.id];
    }
    EXPECT_EQ(seen.size(), 105U);
    for (const auto& [letter, count] : counts) {
        for (int number = 1; number <= count; ++number) {
            const std::string id = letter + std::to_string(number);
            EXPECT_EQ(seen[id], 1) << id;
        }
    }
}

TEST(FaultCoverage, EveryTestThatIsNamedExists) {
    const auto tests = unit_tests();
    const std::vector<std::string> scripts = files_below("tests/e2e", {".sh"});
    ASSERT_GT(tests.size(), 300U);
    for (const Row& row : rows()) {
        const auto named = all_matches(row.tests, R"(`(\w+\.[A-Z]\w+)`)");
        const auto scripted = all_matches(row.tests, R"(`(tests/e2e/\w+\.sh)`)");
        for (const std::string& name : named) {
            EXPECT_TRUE(tests.contains(name)) << row.id << " names " << name;
        }
        for (const std::string& script : scripted) {
            EXPECT_TRUE(std::ranges::find(scripts, script) != scripts.end())
                << row.id << " names " << script;
        }
        const bool says_why =
            row.tests.find("function does not exist yet: ") != std::string::npos ||
            row.tests.starts_with("not asserted yet: ");
        EXPECT_TRUE(says_why || !named.empty() || !scripted.empty()) << row.id;
    }
}

// Numbers of G are those of promises as well: G6_… is a fault, G6… without it a promise.
TEST(FaultCoverage, ATestThatIsNamedAfterAFaultIsInItsRow) {
    std::map<std::string, std::string> tests_of;
    for (const Row& row : rows()) {
        tests_of[row.id] = row.tests;
    }
    const std::regex after_a_fault(R"(\w+\.((?:[A-FH]\d+(?=_?[A-Z]))|(?:G\d+(?=_)))\w+)");
    std::size_t named = 0;
    for (const auto& [test, text] : unit_tests()) {
        std::smatch match;
        if (std::regex_match(test, match, after_a_fault) && tests_of.contains(match[1])) {
            EXPECT_NE(tests_of[match[1]].find('`' + test + '`'), std::string::npos)
                << match[1] << " does not name " << test;
            ++named;
        }
    }
    EXPECT_GT(named, 150U);
}

// Of a script that has cases of several faults each says of which it is: `check "A10: …"`.
struct NamedAfter {
    std::set<std::string> units, scripts;
};

NamedAfter named_after(const Row& row) {
    const std::string form = R"(\w+\.)" + row.id + (row.id[0] == 'G' ? "_" : "_?[A-Z]") + R"(\w+)";
    NamedAfter out{.units = all_matches(row.tests, "`(" + form + ")`"), .scripts = {}};
    for (const std::string& path : all_matches(row.tests, R"(`(tests/e2e/\w+\.sh)`)")) {
        if (read_text(path).find("check \"" + row.id + ": ") != std::string::npos) {
            out.scripts.insert(path);
        }
    }
    return out;
}

TEST(FaultCoverage, EveryFaultHasATestThatIsNamedAfterIt) {
    std::size_t covered = 0;
    for (const Row& row : rows()) {
        if (row.tests.starts_with("function does not exist yet: ")) {
            continue;
        }
        const NamedAfter named = named_after(row);
        EXPECT_TRUE(!named.units.empty() || !named.scripts.empty())
            << row.id << " has no test of its name";
        ++covered;
    }
    EXPECT_GE(covered, 104U);
}

TEST(FaultCoverage, EveryCodeIsInTheTableOfErrors) {
    std::set<std::string> codes;
    for (std::string name : all_matches(read_text("base/errors.def"), R"(\nCW_ERROR\((\w+),)")) {
        for (char& c : name) {
            c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        }
        codes.insert(name);
    }
    for (const Row& row : rows()) {
        for (const std::string& code : all_matches(row.code, R"(`(\w+)`)")) {
            EXPECT_TRUE(codes.contains(code)) << row.id << " names " << code;
        }
    }
}

// What of a test looks for a code: not its comments, and not where it makes the error that it puts
// in somebody's way.
std::string what_asks(const std::string& test) {
    static const std::regex comment("//[^\n]*"),
        makes(R"(\b(fail|raise|script|Error)\s*[({]\s*Errc::\w+)");
    return std::regex_replace(std::regex_replace(test, comment, ""), makes, "");
}

std::string commands_of(const std::string& script) {
    static const std::regex comment(R"((^|\n)\s*#[^\n]*)");
    return std::regex_replace(script, comment, "\n");
}

// G21: a row's code is worth something if the very test of that fault looks for it, within its own
// function.
TEST(FaultCoverage, EachCodeIsNamedByATestThatIsNamedAfterItsFault) {
    const auto tests = unit_tests();
    std::size_t codes = 0;
    for (const Row& row : rows()) {
        const NamedAfter of_row = named_after(row);
        for (const std::string& code : all_matches(row.code, R"(`([A-Z][A-Z_]+)`)")) {
            std::string errc = code;
            std::ranges::transform(errc, errc.begin(),
                                   [](unsigned char c) { return std::tolower(c); });
            const std::regex unit("Errc::" + errc + R"(\b)"), script(R"(\b)" + code + R"(\b)");
            bool named = false;
            for (const std::string& test : of_row.units) {
                const auto found = tests.find(test);
                named |= found != tests.end() && std::regex_search(what_asks(found->second), unit);
            }
            for (const std::string& path : of_row.scripts) {
                named |= std::regex_search(commands_of(read_text(path)), script);
            }
            EXPECT_TRUE(named) << row.id << ": none of its own tests names " << code;
            ++codes;
        }
    }
    EXPECT_GT(codes, 60U);
}

struct End {
    std::string when, tests;
};

// By code.
std::multimap<std::string, End> ends() {
    std::multimap<std::string, End> out;
    const std::regex row(R"(^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$)");
    for (const std::string& line : lines_of(read_text(document))) {
        std::smatch match;
        if (std::regex_match(line, match, row)) {
            out.emplace(match[1], End{match[2], match[3]});
        }
    }
    return out;
}

// G21: who is told of a fault wants to know what to wait for.
TEST(FaultCoverage, OfEachCodeIsSaidOnceWhenItEnds) {
    const auto all = ends();
    std::set<std::string> codes;
    for (const Row& row : rows()) {
        codes.merge(all_matches(row.code, R"(`([A-Z][A-Z_]+)`)"));
    }
    for (const std::string& code : codes) {
        EXPECT_EQ(all.count(code), 1U) << code;
    }
    for (const auto& [code, end] : all) {
        EXPECT_TRUE(codes.contains(code)) << code << " is in no row";
        const bool stands = !end.when.starts_with("–") || end.when.find("; ") != std::string::npos;
        const bool shown = end.tests.find('`') != std::string::npos;
        EXPECT_TRUE(shown || end.tests == (stands ? "no test shows the end" : "–")) << code;
    }
}

// Whether the test looks for the code, and for its being gone.
bool sees_the_end(const std::string& test, std::string code) {
    std::ranges::transform(code, code.begin(), [](unsigned char c) { return std::tolower(c); });
    const std::string asked = what_asks(test), errc = "Errc::" + code + R"(\b)";
    const std::regex gone(R"(EXPECT_FALSE\([^;]*)" + errc + R"(|expect_shown_and_over\([^;]*)" +
                          errc + R"(|EXPECT_TRUE\([^;]*(list|shown)\(\)\.empty\(\))");
    return std::regex_search(asked, std::regex(errc)) && std::regex_search(asked, gone);
}

bool script_sees_the_end(const std::string& script, const std::string& code) {
    return std::regex_search(
        commands_of(script),
        std::regex("(cleared code=|condition_is_not |! grep -q )" + code + R"(\b)"));
}

TEST(FaultCoverage, EachTestThatIsNamedForAnEndLooksForIt) {
    const auto tests = unit_tests();
    std::size_t named = 0;
    for (const auto& [code, end] : ends()) {
        for (const std::string& name : all_matches(end.tests, R"(`(\w+\.[A-Z]\w+)`)")) {
            const auto test = tests.find(name);
            EXPECT_TRUE(test != tests.end() && sees_the_end(test->second, code))
                << code << " names " << name;
            ++named;
        }
        for (const std::string& path : all_matches(end.tests, R"(`(tests/e2e/\w+\.sh)`)")) {
            EXPECT_TRUE(script_sees_the_end(read_text(path), code)) << code << " names " << path;
            ++named;
        }
    }
    EXPECT_GT(named, 40U);
}

TEST(FaultCoverage, ATestThatOnlyRaisesACodeShowsNoEndOfIt) {
    const std::string raised = "EXPECT_TRUE(conditions.standing(Errc::disk_full));";
    EXPECT_FALSE(sees_the_end(raised, "DISK_FULL"));
    EXPECT_FALSE(sees_the_end(raised + "EXPECT_FALSE(stands(Errc::io_error));", "DISK_FULL"));
    EXPECT_TRUE(sees_the_end(raised + "EXPECT_FALSE(stands(Errc::disk_full));", "DISK_FULL"));
    EXPECT_TRUE(sees_the_end(raised + "EXPECT_TRUE(conditions.list().empty());", "DISK_FULL"));
    EXPECT_FALSE(script_sees_the_end("logged 'condition.raised code=DISK_FULL'", "DISK_FULL"));
    EXPECT_TRUE(script_sees_the_end("logged 'condition.cleared code=DISK_FULL'", "DISK_FULL"));
}

TEST(FaultCoverage, ACodeInACommentOrInAnErrorThatATestMakesIsNotAskedFor) {
    const std::regex unit(R"(Errc::disk_full\b)");
    for (const char* makes :
         {"// Errc::disk_full", "disk.script(fail(Errc::disk_full, \"\"));",
          "Error{Errc::disk_full, {}}", "conditions.raise(Errc::disk_full, a);"}) {
        EXPECT_FALSE(std::regex_search(what_asks(makes), unit)) << makes;
    }
    for (const char* asks : {"EXPECT_EQ(error.code, Errc::disk_full);",
                             "return conditions.standing(Errc::disk_full);"}) {
        EXPECT_TRUE(std::regex_search(what_asks(asks), unit)) << asks;
    }
    EXPECT_EQ(commands_of("a\n  # DISK_FULL\nb"), "a\n\nb");
}

}  // namespace
}  // namespace cw::architecture
