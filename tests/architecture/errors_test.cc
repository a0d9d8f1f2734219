#include "tests/architecture/errors_document.h"
#include "tests/architecture/source_tree.h"

#include <regex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

std::set<std::string> rows_of_errors_def() {
    std::set<std::string> rows;
    const std::string text = read_text("base/errors.def");
    const std::regex row(R"(\nCW_ERROR\((\w+),)");
    for (std::sregex_iterator at(text.begin(), text.end(), row), end; at != end; ++at) {
        rows.insert((*at)[1]);
    }
    return rows;
}

// The codes that tests name. Fakes and simulators name what they can make fail, which shows
// nothing: only files with tests in them count.
std::set<std::string> provoked_codes() {
    std::set<std::string> codes;
    const std::regex use(R"(Errc::(\w+))");
    for (const std::string& path : files_below("tests", {"_test.cc"})) {
        if (path.starts_with("tests/architecture/")) {
            continue;
        }
        const std::string text = read_text(path);
        for (std::sregex_iterator at(text.begin(), text.end(), use), end; at != end; ++at) {
            codes.insert((*at)[1]);
        }
    }
    return codes;
}

std::set<std::string> listed_as_unprovoked() {
    std::set<std::string> codes;
    for (const std::string& line : lines_of(read_text("tests/architecture/unprovoked.txt"))) {
        for (const std::string& word : words_of(line)) {
            codes.insert(word);
        }
    }
    return codes;
}

TEST(Errors, EveryRowIsProvokedByATestOrListed) {
    const auto provoked = provoked_codes(), listed = listed_as_unprovoked();
    for (const std::string& code : rows_of_errors_def()) {
        EXPECT_TRUE(provoked.contains(code) || listed.contains(code))
            << code << ": no test names Errc::" << code;
    }
}

TEST(Errors, TheListOfUnprovokedRowsOnlyShrinks) {
    const auto rows = rows_of_errors_def(), provoked = provoked_codes();
    for (const std::string& code : listed_as_unprovoked()) {
        EXPECT_TRUE(rows.contains(code)) << code << " is no longer in errors.def";
        EXPECT_FALSE(provoked.contains(code))
            << code << " has its test: take it off unprovoked.txt";
    }
}

TEST(Errors, TheDocumentIsCurrent) {
    EXPECT_EQ(read_text("docs/errors.md"), errors_document())
        << "run: architecture_test --update-docs";
}

TEST(Errors, TheTableWasRead) {
    EXPECT_GT(rows_of_errors_def().size(), 40U);
}

}  // namespace
}  // namespace cw::architecture
