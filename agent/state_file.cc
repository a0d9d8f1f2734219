#include "agent/state_file.h"

#include "agent/full_disk.h"
#include "agent/state_format.h"
#include "base/crash_point.h"

#include <algorithm>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr std::size_t state_bytes_max = 1024 * 1024;

json to_json(const std::vector<SeqRange>& ranges) {
    json out = json::array();
    for (const SeqRange& range : ranges) {
        out.push_back(json::array({raw(range.first), raw(range.limit)}));
    }
    return out;
}

json to_json(const DiskState& disk) {
    return {{"id", to_string(disk.id)},
            {"name", disk.name},
            {"path", disk.path},
            {"size_bytes", disk.size_bytes},
            {"generation", raw(disk.generation)},
            {"limit", raw(disk.limit)},
            {"own", to_json(disk.own)},
            {"next", raw(disk.next)},
            {"stream_hash", to_hex(disk.stream_hash)},
            {"image", disk.image_print}};
}

// What nlohmann converts out of a negative, broken or huge number is not defined.
std::uint64_t number_of(const json& value) {
    if (!value.is_number_unsigned()) {
        throw std::invalid_argument("a number that is not one");
    }
    return value.get<std::uint64_t>();
}

template <std::size_t N>
std::array<std::byte, N> bytes_of(const json& value) {
    const auto bytes = from_hex(value.get<std::string>());
    if (!bytes || bytes->size() != N) {
        throw std::invalid_argument("hexadecimal field");
    }
    std::array<std::byte, N> out;
    std::copy(bytes->begin(), bytes->end(), out.begin());
    return out;
}

// Ascending, and the last ends at `limit`. A file of an agent that kept none has none.
std::vector<SeqRange> ranges_from(const json& disk, Seq limit) {
    std::vector<SeqRange> out;
    Seq end{};
    for (const json& range : disk.value("own", json::array())) {
        const Seq first{number_of(range.at(0))}, last{number_of(range.at(1))};
        if (first < end || raw(first) == 0 || last < first) {
            throw std::invalid_argument("own sequences");
        }
        out.push_back({first, end = last});
    }
    if (!out.empty() && end != limit) {
        throw std::invalid_argument("own sequences do not end at the limit");
    }
    return out;
}

void note_reserved(DiskState& disk, Seq at_least, Seq limit) {
    if (at_least > disk.limit) {
        if (disk.own.empty() && raw(disk.limit) > 1) {
            disk.own.push_back({Seq{1}, disk.limit});
        }
        disk.own.push_back({at_least, limit});
    } else if (!disk.own.empty()) {
        disk.own.back().limit = limit;
    }
    if (disk.own.size() > StateFile::own_ranges_max) {
        disk.own.erase(disk.own.begin());
    }
    disk.limit = limit;
}

// A million starts later sequences are still far below 2^64.
constexpr Seq limit_max{std::uint64_t{1} << 62};

// Throws what nlohmann throws; caught in parse_state().
DiskState disk_from(const json& in) {
    DiskState disk;
    const auto id = parse_id<DiskId>(in.at("id").get<std::string>());
    if (!id) {
        throw std::invalid_argument("disk id");
    }
    disk.id = *id;
    disk.name = in.at("name").get<std::string>();
    disk.path = in.at("path").get<std::string>();
    disk.size_bytes = number_of(in.at("size_bytes"));
    disk.generation = Generation{number_of(in.at("generation"))};
    disk.limit = Seq{number_of(in.at("limit"))};
    disk.own = ranges_from(in, disk.limit);
    disk.next = Seq{number_of(in.at("next"))};
    disk.stream_hash = bytes_of<32>(in.at("stream_hash"));
    disk.image_print = in.at("image").get<std::string>();
    if (raw(disk.limit) == 0 || disk.limit > limit_max || disk.next > disk.limit) {
        throw std::invalid_argument("sequence limit");
    }
    return disk;
}

Result<AgentState> parse_state(Bytes text, const std::string& path) {
    try {
        const json in = json::parse(as_text(text));
        AgentState state;
        const std::uint64_t version = number_of(in.at("version"));
        if (version > state_version) {
            return std::unexpected(newer_format(path, version, state_version));
        }
        if (version != state_version) {
            throw std::invalid_argument("version");
        }
        state.boot_counter = number_of(in.at("boot_counter"));
        state.place = in.at("boot_id").get<std::string>();
        state.clean = in.at("clean").get<bool>();
        state.witness_number = number_of(in.at("witness_number"));
        state.witness_hash = bytes_of<32>(in.at("witness_hash"));
        for (const json& disk : in.at("disks")) {
            state.disks.push_back(disk_from(disk));
        }
        return state;
    } catch (const std::exception& wrong) {
        return fail(Errc::config_invalid, path + ": " + wrong.what());
    }
}

}  // namespace

bool may_be_own(const DiskState& disk, Seq durable) {
    // A fence that is not stored yet is told as what it begins after.
    const auto has = [durable](const SeqRange& range) {
        return next(durable) >= range.first && durable < range.limit;
    };
    return raw(durable) == 0 ||
           (disk.own.empty() ? durable < disk.limit : std::ranges::any_of(disk.own, has));
}

Result<std::unique_ptr<StateFile>> StateFile::open(Disk& disk, const std::string& directory) {
    CW_TRY(disk.create_directories(directory));
    const std::string path = directory + "/agent.json";
    std::unique_ptr<StateFile> file(new StateFile(disk, path));
    CW_TRY_ASSIGN(const bool there, disk.exists(path));
    if (there) {
        CW_TRY_ASSIGN(const ByteVector text, read_file(disk, path, state_bytes_max));
        CW_TRY_ASSIGN(file->state_, parse_state(text, path));
    }
    return file;
}

AgentState StateFile::get() {
    const std::lock_guard lock(mutex_);
    return state_;
}

Result<Seq> StateFile::reserve(std::uint16_t slot, Seq at_least) {
    const std::lock_guard lock(mutex_);
    CW_ASSERT(slot < state_.disks.size());
    DiskState& disk = state_.disks[slot];
    const DiskState before = disk;
    note_reserved(disk, at_least, advance(std::max(disk.limit, at_least), reserve_step));
    if (auto written = write(); !written) {
        disk = before;
        return std::unexpected(written.error());
    }
    CW_CRASH_POINT("agent.sequences.reserved");
    return disk.limit;
}

Result<void> StateFile::write() {
    json disks = json::array();
    for (const DiskState& disk : state_.disks) {
        disks.push_back(to_json(disk));
    }
    const json out{{"version", state_version},
                   {"boot_counter", state_.boot_counter},
                   {"boot_id", state_.place},
                   {"clean", state_.clean},
                   {"witness_number", state_.witness_number},
                   {"witness_hash", to_hex(state_.witness_hash)},
                   {"disks", disks}};
    // Names are people's words: invalid UTF-8 must not stop the agent.
    const std::string text = out.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
    CW_CRASH_POINT("agent.state.before_write");
    CW_TRY(name_full_disk(write_file_atomically(disk_, path_, as_bytes(text), 0600), path_));
    CW_CRASH_POINT("agent.state.after_write");
    return {};
}

}  // namespace cw::agent
