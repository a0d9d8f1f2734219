// Crash points: a name in the product is a promise that somebody kills a real process there.
#include "tests/architecture/source_tree.h"

#include <functional>
#include <map>
#include <regex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

std::set<std::string> all_matches(const std::string& text, const std::string& pattern) {
    std::set<std::string> out;
    static std::map<std::string, std::regex> compiled;  // Patterns of this file: a handful.
    const std::regex& wanted = compiled.try_emplace(pattern, pattern).first->second;
    for (std::sregex_iterator at(text.begin(), text.end(), wanted), end; at != end; ++at) {
        out.insert((*at)[1]);
    }
    return out;
}

// Those in files that `wanted` takes.
std::set<std::string> compiled_in(const std::function<bool(const std::string&)>& wanted) {
    std::set<std::string> out;
    for (const std::string& path : cpp_files()) {
        if (!path.starts_with("tests/") && path != "base/crash_point.h" && wanted(path)) {
            out.merge(all_matches(read_text(path), R"re(CW_CRASH_POINT\("([a-z_.]+)"\))re"));
        }
    }
    return out;
}

// As scripts spell a place: its name and the hit, or the hits, at which it is taken; crash.sh has
// two for which the hit is always the first.
std::set<std::string> armed_by_name() {
    std::set<std::string> out;
    for (const std::string& path : files_below("tests/e2e", {".sh"})) {
        for (const std::string& line : lines_of(read_text(path))) {
            if (line.find_first_not_of(' ') != line.find('#')) {
                out.merge(all_matches(line, R"(\b([a-z_]+\.[a-z_.]*[a-z_]):(?=[0-9{]))"));
                out.merge(all_matches(line, R"(\b(cache\.create\.[a-z_]+))"));
            }
        }
    }
    return out;
}

// Scripts that take the names as causewayd or causeway-agent lists them, but those that `grep -vE`
// leaves out, or only those that `grep` lets through.
std::set<std::string> armed_by_sweep() {
    const auto of_agent = [](const std::string& path) { return path.starts_with("agent/"); };
    const std::set<std::string> agents = compiled_in(of_agent);
    const std::set<std::string> servers = compiled_in([&](const std::string& path) {
        return !path.starts_with("appliance/cli/") && !of_agent(path);
    });
    const std::regex sweep(
        R"(causeway(d|-agent) --list-crash-points \| grep (-E |-vE )?'([^']+)')");
    std::set<std::string> out;
    for (const std::string& path : files_below("tests/e2e", {".sh"})) {
        const std::string script = read_text(path);
        for (std::sregex_iterator at(script.begin(), script.end(), sweep), end; at != end; ++at) {
            const std::regex pattern((*at)[3].str());
            for (const std::string& name : (*at)[1] == "d" ? servers : agents) {
                if (std::regex_search(name, pattern) != ((*at)[2] == "-vE ")) {
                    out.insert(name);
                }
            }
        }
    }
    return out;
}

// A script that dies at a name dies at whichever place comes first: of two, one is never tried.
TEST(CrashPoints, HaveOnePlaceEach) {
    const std::regex point(R"re(CW_CRASH_POINT\("([a-z_.]+)"\))re");
    std::map<std::string, std::string> places;
    for (const std::string& path : cpp_files()) {
        if (path.starts_with("tests/") || path == "base/crash_point.h") {
            continue;
        }
        const std::string text = read_text(path);
        for (std::sregex_iterator at(text.begin(), text.end(), point), end; at != end; ++at) {
            const auto [earlier, is_new] = places.emplace((*at)[1], path);
            EXPECT_TRUE(is_new) << (*at)[1] << " is in " << path << " and in " << earlier->second;
        }
    }
    EXPECT_GT(places.size(), 40U);
}

TEST(CrashPoints, OfTheProductAreThoseAtWhichScriptsKillARealProcess) {
    const std::set<std::string> names = compiled_in([](const std::string&) { return true; });
    ASSERT_GT(names.size(), 40U);
    std::set<std::string> armed = armed_by_sweep();
    EXPECT_GT(armed.size(), 20U) << "crash.sh sweeps in another way than this test knows";
    armed.merge(armed_by_name());
    for (const std::string& name : names) {
        EXPECT_TRUE(armed.contains(name)) << "no script of tests/e2e kills a process at " << name;
    }
    for (const std::string& name : armed) {
        EXPECT_TRUE(names.contains(name)) << "scripts arm " << name << ", which nothing reaches";
    }
}

}  // namespace
}  // namespace cw::architecture
