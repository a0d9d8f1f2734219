#include "tests/architecture/source_tree.h"

#include <filesystem>
#include <regex>
#include <set>

#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

constexpr std::size_t file_lines_max = 500;
constexpr std::size_t readme_lines_max = 20;

TEST(Shape, FilesStayShort) {
    for (const std::string& file : cpp_files()) {
        EXPECT_LE(lines_of(read_text(file)).size(), file_lines_max) << file;
    }
}

TEST(Shape, NoLeftOverMarks) {
    // Spelled in two halves, so that this file passes as well.
    const std::regex mark(
        "\\b(TO"
        "DO|FIX"
        "ME|X"
        "XX|HA"
        "CK)\\b");
    auto files = files_below("", {".h", ".cc", ".def", ".txt", ".cmake", ".sh", ".py", ".mjs",
                                  ".js", ".json", ".toml", ".service"});
    files.insert(files.end(), {"quickstart", "tests/run", ".ci/run"});
    for (const std::string& file : files) {
        const auto lines = lines_of(read_text(file));
        for (std::size_t i = 0; i < lines.size(); ++i) {
            EXPECT_FALSE(std::regex_search(lines[i], mark)) << file << ':' << i + 1;
        }
    }
}

// Under pipefail a reader that stops at its first match makes the program before it fail,
// sometimes: scripts ask with `says` (tests/lib/demo.sh). A `bash -c` begins without pipefail.
TEST(Shape, NoScriptPipesIntoAReaderThatStopsEarly) {
    auto scripts = files_below("tests/e2e", {".sh"});
    scripts.insert(scripts.end(), {"tests/lib/demo.sh", "tests/lib/ordered.sh",
                                   "tests/lib/guest.sh", "quickstart"});
    for (const std::string& file : scripts) {
        const std::string text = read_text(file);
        if (!text.contains("pipefail") && !file.starts_with("tests/lib/")) {
            continue;
        }
        const auto lines = lines_of(text);
        for (std::size_t i = 0; i < lines.size(); ++i) {
            EXPECT_FALSE(lines[i].contains("| grep -q") && !lines[i].contains("bash -c"))
                << file << ':' << i + 1;
        }
    }
}

// nlohmann's dump() throws at bytes that are not UTF-8, and names are other people's bytes. The
// handler is its fourth argument.
TEST(Shape, NoJsonIsWrittenThatThrowsAtForeignBytes) {
    const std::regex dump(R"([.>]dump\(([^;]*?)\))");
    const std::regex handled(R"(^[^,]*,[^,]*,[^,]*,\s*(\w*::)*(error_handler_t::)?replace$)");
    for (const std::string& file : cpp_files()) {
        if (file.starts_with("tests/architecture/")) {
            continue;
        }
        const std::string text = read_text(file);
        for (auto at = std::sregex_iterator(text.begin(), text.end(), dump);
             at != std::sregex_iterator(); ++at) {
            EXPECT_TRUE(std::regex_match((*at)[1].str(), handled))
                << file << ": " << at->str() << ": name error_handler_t::replace";
        }
    }
}

// With g++ 12 std::ranges::copy takes const bytes one at a time (its check for memmove has the two
// types the wrong way round); std::copy and std::copy_n move them at once.
TEST(Shape, NoBytesAreCopiedOneAtATime) {
    const std::string slow = std::string("ranges::") + "copy";
    for (const std::string& file : cpp_files()) {
        const bool measured = !file.starts_with("tests/") || file.starts_with("tests/sim/") ||
                              file.starts_with("tests/fakes/") ||
                              file.starts_with("tests/fake_azure/");
        const std::string text = read_text(file);
        EXPECT_FALSE(measured && (text.contains(slow + "(") || text.contains(slow + "_n(")))
            << file << ": take std::copy or std::copy_n";
    }
}

TEST(Shape, TheTopHoldsOnlyWhatIsKnown) {
    static const std::set<std::string> known{
        // Rooms.
        "agent", "appliance", "base", "bench", "cache", "config", "docs", "egress", "ingest",
        "pipeline", "recovery", "tests",
        // What a newcomer and the tools look for.
        ".ci", ".clang-format", ".clang-tidy", ".gitattributes", ".gitignore", "ARCHITECTURE.md",
        "CHANGELOG.md", "CMakeLists.txt", "CMakePresets.json", "CONTRIBUTING.md", "LICENSE",
        "README.md", "SECURITY.md", "quickstart",
        // Never committed.
        ".git", ".cache", "build", "run", "compile_commands.json"};
    for (const auto& entry : std::filesystem::directory_iterator(in_tree(""))) {
        const std::string name = entry.path().filename().string();
        EXPECT_TRUE(known.contains(name)) << name << " has no place at the top";
    }
}

TEST(Shape, EveryRoomSaysInAFewLinesWhyItExists) {
    for (const std::string room :
         {"base", "config", "ingest", "ingest/wire", "pipeline", "cache", "egress", "egress/blob",
          "egress/vault", "egress/upload", "egress/volume", "recovery", "agent", "appliance",
          "bench", "tests"}) {
        const auto lines = lines_of(read_text(room + "/README.md"));
        EXPECT_FALSE(lines.empty()) << room << " has no README.md";
        EXPECT_LE(lines.size(), readme_lines_max) << room;
    }
}

}  // namespace
}  // namespace cw::architecture
