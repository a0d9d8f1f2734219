// The seams hold: a room below appliance/ takes its Clock, Random, Disk, Executor and BlobStore
// from its caller, so that a seeded simulator can drive the very same objects. What an archive
// leaves undefined shows whether it goes behind their back.
#include "tests/architecture/source_tree.h"

#include <algorithm>
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

// What is undefined, and in which object file of the archive: "reactor.cc".
using Symbols = std::multimap<std::string, std::string>;

// _FORTIFY_SOURCE calls __read_chk for read and __open64_2 for open64.
std::string plain_name(const std::string& symbol) {
    static const std::regex fortified("^__(\\w+?)(_chk|_2)$");
    std::smatch match;
    return std::regex_match(symbol, match, fortified) ? match[1].str() : symbol;
}

bool is_forbidden(const std::string& symbol) {
    static const std::set<std::string> calls{
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
        "unlinkat",
        "link",
        "linkat",
        "rename",
        "renameat",
        "renameat2",
        "mkdir",
        "mkdirat",
        "opendir",
        "ftruncate",
        "ftruncate64",
        "fallocate",
        "fallocate64",
        "posix_fallocate",
        "posix_fallocate64",
        "stat",
        "stat64",
        "lstat",
        "fstat",
        "fstatat",
        "statx",
        "statvfs",
        "access",
        "flock",
        "fcntl",
        "fcntl64",
        "ioctl",
        "mmap",
        "mmap64",
        // Threads of their own, and giving way to those of others.
        "pthread_create",
        "sched_yield",
        "eventfd",
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
        "getaddrinfo",
        "fork",
        "vfork",
        "execve",
        "posix_spawn",
        "posix_spawnp",
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
        "_ZNSt11this_thread11__sleep_for.*|_ZNSt10filesystem.*|_ZNSt13basic_filebuf.*4open.*|"
        "_ZNSt6thread15_M_start_thread.*");
    return calls.contains(plain_name(symbol)) || std::regex_match(symbol, patterns);
}

Symbols undefined_symbols(const std::string& archive) {
    const std::string command = std::string(CAUSEWAY_NM) + " -A -u '" + archive + "' 2>&1";
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
    Symbols symbols;
    char line[4096];
    while (pipe != nullptr && std::fgets(line, sizeof line, pipe.get()) != nullptr) {
        std::istringstream words(line);
        std::string place, kind, symbol;  // "archive:object.cc.o:", "U", "name@VERSION"
        if (words >> place >> kind >> symbol && (kind == "U" || kind == "w")) {
            place.resize(std::min(place.rfind(".o:"), place.size()));
            symbols.emplace(symbol.substr(0, symbol.find('@')), place.substr(place.rfind(':') + 1));
        }
    }
    return symbols;
}

struct Allowance {
    std::string room, file, pattern;  // file: empty for every one
    mutable bool used = false;
};

// "<room>[/<file.cc>] <symbol or pattern> # reason"
std::vector<Allowance> allowances() {
    std::vector<Allowance> rows;
    for (const std::string& line : lines_of(read_text("tests/architecture/symbols_allowed.txt"))) {
        const auto words = words_of(line);
        if (words.empty()) {
            continue;
        }
        EXPECT_EQ(words.size(), 2U) << line;
        EXPECT_NE(line.find('#'), std::string::npos) << "no reason given: " << line;
        const std::size_t slash = std::min(words.front().find('/'), words.front().size());
        rows.push_back({.room = words.front().substr(0, slash),
                        .file = words.front().substr(std::min(slash + 1, words.front().size())),
                        .pattern = words.back()});
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
    if (!CAUSEWAY_OBJECT_PER_FILE) {
        GTEST_SKIP()
            << "an object is a group of files here; the release build says whose call it is";
    }
    const auto allowed = allowances();
    const auto libraries = seamed_libraries();
    for (const auto& [room, archive] : libraries) {
        const Symbols symbols = undefined_symbols(archive);
        EXPECT_FALSE(symbols.empty()) << archive << " cannot be read";
        for (const auto& [symbol, file] : symbols) {
            if (!is_forbidden(symbol)) {
                continue;
            }
            bool excused = false;
            for (const Allowance& row : allowed) {
                if (row.room == room && (row.file.empty() || row.file == file) &&
                    fnmatch(row.pattern.c_str(), plain_name(symbol).c_str(), 0) == 0) {
                    excused = row.used = true;
                }
            }
            EXPECT_TRUE(excused) << room << "/" << file << " calls " << symbol;
        }
    }
    for (const Allowance& row : allowed) {
        EXPECT_TRUE(row.used || !libraries.contains(row.room))
            << row.room << "/" << row.file << " no longer needs " << row.pattern
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
    EXPECT_TRUE(
        is_forbidden("_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_"
                     "deleteIS1_EEPFvvE"));
    EXPECT_FALSE(is_forbidden("memcpy"));
    EXPECT_FALSE(is_forbidden("__memcpy_chk"));
    EXPECT_FALSE(is_forbidden("_ZN2cw6crc32cESt4spanIKSt4byteLm18446744073709551615EEj"));
}

}  // namespace
}  // namespace cw::architecture
