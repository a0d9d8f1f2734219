// The seams hold: a room below appliance/ takes its Clock, Random, Disk, Executor and BlobStore
// from its caller, so that a seeded simulator can drive the very same objects. What an archive
// leaves undefined shows whether it goes behind their back.
#include "tests/architecture/source_tree.h"

#include <cstdio>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>

#include <fnmatch.h>
#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

using Symbols = std::set<std::string>;

// _FORTIFY_SOURCE calls __read_chk for read and __open64_2 for open64.
std::string plain_name(const std::string& symbol) {
    static const std::regex fortified("^__(\\w+?)(_chk|_2)$");
    std::smatch match;
    return std::regex_match(symbol, match, fortified) ? match[1].str() : symbol;
}

bool is_forbidden(const std::string& symbol) {
    static const Symbols calls{
        // Time and sleeping.
        "clock_gettime",
        "clock_getres",
        "gettimeofday",
        "time",
        "nanosleep",
        "clock_nanosleep",
        "sleep",
        "usleep",
        "timerfd_create",
        "timerfd_settime",
        // Files.
        "open",
        "open64",
        "openat",
        "openat64",
        "creat",
        "fopen",
        "fopen64",
        "read",
        "write",
        "pread",
        "pread64",
        "pwrite",
        "pwrite64",
        "preadv",
        "pwritev",
        "preadv64",
        "pwritev64",
        "fsync",
        "fdatasync",
        "unlink",
        "rename",
        "mkdir",
        "opendir",
        "ftruncate",
        "ftruncate64",
        // Sockets and processes.
        "socket",
        "connect",
        "accept",
        "accept4",
        "bind",
        "listen",
        "send",
        "sendto",
        "sendmsg",
        "recv",
        "recvfrom",
        "recvmsg",
        "poll",
        "ppoll",
        "epoll_wait",
        "select",
        "fork",
        "execve",
        "system",
        "popen",
        // Randomness and surroundings.
        "getrandom",
        "getentropy",
        "rand",
        "rand_r",
        "random",
        "srand",
        "getenv",
        "secure_getenv",
        "RAND_bytes",
        "RAND_priv_bytes",
    };
    static const std::regex patterns(
        "^io_uring_.*|.*random_device.*|_ZNSt6chrono3_V21[0-9](system|steady)_clock3now.*|"
        "_ZNSt11this_thread11__sleep_for.*|_ZNSt10filesystem.*|_ZNSt13basic_filebuf.*4open.*");
    return calls.contains(plain_name(symbol)) || std::regex_match(symbol, patterns);
}

Symbols undefined_symbols(const std::string& archive) {
    const std::string command = std::string(CAUSEWAY_NM) + " -u '" + archive + "' 2>&1";
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
    Symbols symbols;
    char line[4096];
    while (pipe != nullptr && std::fgets(line, sizeof line, pipe.get()) != nullptr) {
        std::istringstream words(line);
        std::string kind, symbol;
        if (words >> kind >> symbol && (kind == "U" || kind == "w")) {
            symbols.insert(symbol.substr(0, symbol.find('@')));
        }
    }
    return symbols;
}

struct Allowance {
    std::string room, pattern;
    mutable bool used = false;
};

// "<room> <symbol or pattern> # reason"
std::vector<Allowance> allowances() {
    std::vector<Allowance> rows;
    for (const std::string& line : lines_of(read_text("tests/architecture/symbols_allowed.txt"))) {
        const auto words = words_of(line);
        if (words.empty()) {
            continue;
        }
        EXPECT_EQ(words.size(), 2U) << line;
        EXPECT_NE(line.find('#'), std::string::npos) << "no reason given: " << line;
        rows.push_back({words.front(), words.back()});
    }
    return rows;
}

std::map<std::string, std::string> seamed_libraries() {
    std::map<std::string, std::string> libraries;
    std::istringstream list(CAUSEWAY_SEAMED_LIBRARIES);
    for (std::string entry; std::getline(list, entry, ',');) {
        const std::size_t equals = entry.find('=');
        libraries[entry.substr(0, equals)] = entry.substr(equals + 1);
    }
    return libraries;
}

TEST(Symbols, CoreLibrariesReachTheSystemThroughSeamsOnly) {
    const auto allowed = allowances();
    const auto libraries = seamed_libraries();
    for (const auto& [room, archive] : libraries) {
        const Symbols symbols = undefined_symbols(archive);
        EXPECT_FALSE(symbols.empty()) << archive << " cannot be read";
        for (const std::string& symbol : symbols) {
            if (!is_forbidden(symbol)) {
                continue;
            }
            bool excused = false;
            for (const Allowance& row : allowed) {
                if (row.room == room &&
                    fnmatch(row.pattern.c_str(), plain_name(symbol).c_str(), 0) == 0) {
                    excused = row.used = true;
                }
            }
            EXPECT_TRUE(excused) << room << " calls " << symbol;
        }
    }
    for (const Allowance& row : allowed) {
        EXPECT_TRUE(row.used || !libraries.contains(row.room))
            << row.room << " no longer needs " << row.pattern
            << ": take it off symbols_allowed.txt";
    }
}

TEST(Symbols, TheGateSeesWhatItLooksFor) {
    EXPECT_TRUE(is_forbidden("clock_gettime"));
    EXPECT_TRUE(is_forbidden("__read_chk"));
    EXPECT_TRUE(is_forbidden("__open64_2"));
    EXPECT_TRUE(is_forbidden("io_uring_submit"));
    EXPECT_TRUE(is_forbidden("_ZNSt6chrono3_V212steady_clock3nowEv"));
    EXPECT_TRUE(is_forbidden("_ZNSt6chrono3_V212system_clock3nowEv"));
    EXPECT_FALSE(is_forbidden("memcpy"));
    EXPECT_FALSE(is_forbidden("__memcpy_chk"));
    EXPECT_FALSE(is_forbidden("_ZN2cw6crc32cESt4spanIKSt4byteLm18446744073709551615EEj"));
}

}  // namespace
}  // namespace cw::architecture
