#include "appliance/server_state.h"

#include "base/log.h"

#include <algorithm>
#include <charconv>

namespace cw::appliance {
namespace {

constexpr std::size_t id_bytes_max = 4 * kib, witness_bytes_max = 16 * mib;

// "<machine uuid> <number> <64 hex digits>"
Result<std::pair<MachineId, vault::ChainWitness>> parse_line(std::string_view line) {
    const auto bad = [&] {
        return fail(Errc::config_invalid, "the line '" + escape_for_display(line, 80) + "'");
    };
    if (line.size() < 36 + 1 + 1 + 1 + 64) {
        return bad();
    }
    CW_TRY_ASSIGN(const MachineId machine, parse_id<MachineId>(line.substr(0, 36)));
    const std::string_view digits = line.substr(37, line.size() - 37 - 65);
    vault::ChainWitness witness;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), witness.number);
    const auto hash = from_hex(line.substr(line.size() - 64));
    if (error != std::errc{} || end != digits.data() + digits.size() || !hash) {
        return bad();
    }
    std::copy(hash->begin(), hash->end(), witness.hash.begin());
    return std::pair{machine, witness};
}

std::unexpected<Error> damaged_witness(const std::string& path, const std::string& what) {
    return std::unexpected(
        Error{Errc::config_invalid, path + " is damaged: " + what,
              "put it back from a backup, or move it away and know that a vault older than this "
              "server's memory will not be noticed until the next commit"});
}

}  // namespace

Result<ServerId> load_server_id(Disk& disk, Random& random, const std::string& directory) {
    const std::string path = directory + "/server-id";
    const auto bytes = read_file(disk, path, id_bytes_max);
    if (bytes) {
        std::string_view text = as_text(*bytes);
        while (text.ends_with('\n')) {
            text.remove_suffix(1);
        }
        const auto id = parse_id<ServerId>(text);
        if (!id) {
            return std::unexpected(
                Error{Errc::config_invalid, path + " is damaged: it does not hold a UUID",
                      "put it back from a backup, or remove it: the server draws a new one, and "
                      "takes its machines over as another server would"});
        }
        return *id;
    }
    if (bytes.error().code != Errc::not_found) {
        return std::unexpected(bytes.error());
    }
    const auto id = make_id<ServerId>(random);
    CW_TRY(write_file_atomically(disk, path, as_bytes(to_string(id) + "\n")));
    return id;
}

Result<void> WitnessFile::load(Disk& disk) {
    const auto bytes = read_file(disk, path_, witness_bytes_max);
    if (!bytes) {
        return bytes.error().code == Errc::not_found ? Result<void>{}
                                                     : std::unexpected(bytes.error());
    }
    std::string_view text = as_text(*bytes);
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        if (end > 0) {
            const auto entry = parse_line(text.substr(0, end));
            if (!entry) {
                return damaged_witness(path_, entry.error().detail);
            }
            witnesses_.insert_or_assign(entry->first, entry->second);
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    // It is made for the first machine: one without any has lost them.
    return witnesses_.empty() ? damaged_witness(path_, "it names no machine") : Result<void>{};
}

vault::ChainWitness WitnessFile::of(const MachineId& machine) const {
    const auto found = witnesses_.find(machine);
    return found == witnesses_.end() ? vault::ChainWitness{} : found->second;
}

void WitnessFile::note(const MachineId& machine, const vault::ChainWitness& witness) {
    vault::ChainWitness& known = witnesses_[machine];
    if (witness.number > known.number) {
        known = witness;
        changed_ = true;
    }
}

Result<void> WitnessFile::store(Disk& disk) {
    if (!changed_) {
        return {};
    }
    std::string text;
    for (const auto& [machine, witness] : witnesses_) {
        text += to_string(machine) + " " + std::to_string(witness.number) + " " +
                to_hex(witness.hash) + "\n";
    }
    CW_TRY(write_file_atomically(disk, path_, as_bytes(text)));
    changed_ = false;
    return {};
}

}  // namespace cw::appliance
