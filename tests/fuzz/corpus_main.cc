// Runs a fuzz target over kept inputs, once each, without libFuzzer: a build by g++ then shows what
// only clang's would have shown, a source that is missing from the target's list and an input that
// fails again.
//
// usage: fuzz_corpus_<name> DIRECTORY

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::string running;  // Says which input it was, should the target end the process.

void name_the_input(int signal_number) {
    constexpr std::string_view before = "failed on ";
    (void)!::write(STDERR_FILENO, before.data(), before.size());
    (void)!::write(STDERR_FILENO, running.data(), running.size());
    (void)!::write(STDERR_FILENO, "\n", 1);
    (void)std::signal(signal_number, SIG_DFL);
    (void)std::raise(signal_number);
}

std::vector<std::uint8_t> bytes_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        (void)std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    for (const int one : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
        (void)std::signal(one, name_the_input);
    }
    std::vector<std::filesystem::path> inputs;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
        inputs.push_back(entry.path());
    }
    std::ranges::sort(inputs);
    for (const auto& input : inputs) {
        running = input.string();
        const std::vector<std::uint8_t> bytes = bytes_of(input);
        (void)LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
    std::printf("%zu inputs\n", inputs.size());
    return inputs.empty() ? 1 : 0;
}
