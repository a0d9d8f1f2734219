#include "tests/sim/track_record.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <optional>

namespace cw::sim {
namespace {

constexpr std::string_view mark = "### ", part_end = " · ", mended = "mended in ";

std::vector<std::string_view> split(std::string_view text, std::string_view by) {
    std::vector<std::string_view> parts;
    for (std::size_t end; (end = text.find(by)) != std::string_view::npos;
         text.remove_prefix(end + by.size())) {
        parts.push_back(text.substr(0, end));
    }
    parts.push_back(text);
    return parts;
}

std::optional<std::uint64_t> seed_of(std::string_view text) {
    std::uint64_t seed = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    return whole && seed > 0 ? std::optional(seed) : std::nullopt;
}

// "a1b2c3d, b1c2d3e words": the commits; empty if any is none.
std::vector<std::string> commits_of(std::string_view text) {
    std::vector<std::string> commits;
    for (const std::string_view part : split(text, ", ")) {
        const std::string_view first = part.substr(0, part.find(' '));
        if (!is_commit(first)) {
            return {};
        }
        commits.emplace_back(first);
    }
    return commits;
}

// What is wrong with the line, or nothing.
std::string read_find(std::string_view line, Find& find) {
    const auto parts = split(line, part_end);
    if (parts.size() != 3 || !parts[2].starts_with(mended)) {
        return "a find's line is \"### seeds · commits · mended in commits\"";
    }
    find.by = parts[0];
    if (!parts[0].starts_with("no seed (")) {
        for (const std::string_view text : split(parts[0], ", ")) {
            const auto seed = seed_of(text);
            if (!seed) {
                return "\"" + std::string(text) + "\" is no seed";
            }
            find.seeds.push_back(*seed);
        }
    }
    find.found_at = commits_of(parts[1]);
    find.mended_in = commits_of(parts[2].substr(mended.size()));
    return find.found_at.empty() || find.mended_in.empty() ? "it names no commit" : "";
}

}  // namespace

bool is_commit(std::string_view text) {
    return text.size() >= 7 && text.size() <= 40 &&
           text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string track_record_path() {
    const char* const path = std::getenv("CAUSEWAY_TRACK_RECORD");
    return path != nullptr ? path : CAUSEWAY_SOURCE_DIR "/tests/sim/track_record.md";
}

Result<TrackRecord> TrackRecord::read(const std::string& path) {
    std::ifstream in(path);
    if (!in) {
        return fail_errno(Errc::io_error, "the track record " + path + " cannot be read", errno);
    }
    TrackRecord record;
    std::uint64_t number = 0;
    const auto refuse = [&](const std::string& wrong) {
        return fail(Errc::record_corrupt, path + ":" + std::to_string(number) + ": " + wrong);
    };
    const auto is_told = [&] {
        return record.finds_.empty() || !record.finds_.back().what.empty();
    };
    bool told = true;  // The first paragraph has ended.
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (line.starts_with('|')) {
            return refuse("finds stand in no table");
        }
        if (line.starts_with(mark)) {
            if (!is_told()) {
                return refuse("the find above does not say what it was");
            }
            const auto wrong =
                read_find(std::string_view(line).substr(mark.size()), record.finds_.emplace_back());
            if (!wrong.empty()) {
                return refuse(wrong);
            }
            told = false;
        } else if (!told) {
            std::string& what = record.finds_.back().what;
            told = line.empty() && !what.empty();
            what += (what.empty() || line.empty() ? "" : " ") + line;
        }
    }
    if (!is_told()) {
        return refuse("the last find does not say what it was");
    }
    if (in.bad()) {
        return fail(Errc::io_error, "the track record " + path + " cannot be read to its end");
    }
    if (record.finds_.empty()) {
        return fail(Errc::record_corrupt, path + ": no find at all");
    }
    return record;
}

std::set<std::uint64_t> TrackRecord::seeds() const {
    std::set<std::uint64_t> all;
    for (const Find& find : finds_) {
        all.insert(find.seeds.begin(), find.seeds.end());
    }
    return all;
}

std::string TrackRecord::mended_in(std::uint64_t seed, std::string_view commit) const {
    std::string text;
    for (const Find& find : finds_) {
        // A commit may be abbreviated more here, and "-dirty" there.
        const auto is_it = [&](const std::string& at) { return commit.starts_with(at); };
        if (std::ranges::find(find.seeds, seed) != find.seeds.end() &&
            std::ranges::any_of(find.found_at, is_it)) {
            for (const std::string& by : find.mended_in) {
                text += (text.empty() ? "" : ", ") + by;
            }
        }
    }
    return text;
}

}  // namespace cw::sim
