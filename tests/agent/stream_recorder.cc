// stream_recorder DIRECTORY: a server for one agent that keeps every write it is sent, in order, so
// that a test can look at the disk behind any prefix of them: tests/e2e/qemu_prefixes.sh.
//
// Makes its certificates (ca, machine) in DIRECTORY and says "port N". Then answers commands from
// standard input, one line for each; ends with the input. Of the agent's first disk:
//   span              FIRST LAST: the sequences at which it was a state of the disk
//   cut SEQ FILE      what the disk was once SEQ and all before it were written
//   late SEQ FILE TEXT  the same if the writes that hold the line TEXT had come only after SEQ, and
//                       the next one after SEQ in their place: a planted fault
#include "tests/agent/tls_model_server.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include <gtest/gtest.h>

namespace cw::agent::test {
namespace {

struct Span {
    Seq first{}, last{};
};

// Whole once the last fence has closed; nothing before.
Span span_of(const ModelDisk& disk) {
    if (raw(disk.fence) != 0) {
        return {};
    }
    Seq first{};
    for (const auto& piece : disk.pieces) {
        first = std::max(first, piece.end);
    }
    return {first, raw(first) == 0 ? first : disk.received};
}

bool save(const ByteVector& image, const std::string& path) {
    constexpr std::size_t step = 64 * kib;
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    for (std::size_t at = 0; at < image.size(); at += step) {
        const Bytes part = Bytes(image).subspan(at, std::min(step, image.size() - at));
        if (std::ranges::any_of(part, [](std::byte byte) { return byte != std::byte{}; })) {
            out.seekp(static_cast<std::streamoff>(at));
            out.write(reinterpret_cast<const char*>(part.data()),
                      static_cast<std::streamsize>(part.size()));
        }
    }
    out.close();
    std::filesystem::resize_file(path, image.size());
    return out.good();
}

bool holds(const ModelDisk::Piece& piece, std::string_view text) {
    const std::string_view data{reinterpret_cast<const char*>(piece.data.data()),
                                piece.data.size()};
    return data.find(text) != std::string_view::npos;
}

// How many writes were delayed.
std::size_t delay(ModelDisk& disk, Seq cut, std::string_view text) {
    std::size_t delayed = 0;
    Seq last{};
    for (auto& piece : disk.pieces) {
        if (!piece.base && piece.seq <= cut && holds(piece, text)) {
            last = std::max(last, piece.seq);
            piece.seq = advance(cut, 1);
            ++delayed;
        }
    }
    for (auto& piece : disk.pieces) {
        if (delayed > 0 && !piece.base && piece.seq == advance(cut, 1) && !holds(piece, text)) {
            piece.seq = last;
        }
    }
    return delayed;
}

std::string answer(const ModelServer& model, const std::string& line) {
    if (!model.violations.empty()) {
        return "error: " + model.violations.front();
    }
    if (model.disks.empty()) {
        return "0 0";
    }
    const ModelDisk& disk = model.disks.begin()->second;
    const Span span = span_of(disk);
    std::istringstream words(line);
    std::string command, path, text;
    std::uint64_t seq = 0;
    words >> command >> seq >> path >> std::ws;
    std::getline(words, text);
    if (command == "span") {
        return std::to_string(raw(span.first)) + " " + std::to_string(raw(span.last));
    }
    if (Seq{seq} < span.first || Seq{seq} > span.last || raw(span.first) == 0 || path.empty()) {
        return "error: no state of the disk";
    }
    if (command == "cut") {
        return save(disk.materialise(Seq{seq}), path) ? "done" : "error: " + path;
    }
    if (command != "late") {
        return "error: what is " + command + "?";
    }
    ModelDisk faulty = disk;
    if (delay(faulty, Seq{seq}, text + "\n") == 0) {
        return "none";
    }
    return save(faulty.materialise(Seq{seq}), path) ? "done" : "error: " + path;
}

int record(const std::string& directory) {
    TlsModelServer server(directory);
    std::cout << "port " << server.port() << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
        std::cout << server.with([&](ModelServer& model) { return answer(model, line); })
                  << std::endl;
    }
    return ::testing::UnitTest::GetInstance()->Failed() ? 1 : 0;
}

}  // namespace
}  // namespace cw::agent::test

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: stream_recorder DIRECTORY\n";
        return 2;
    }
    return cw::agent::test::record(argv[1]);
}
