#include "ingest/quarantine_file.h"

#include "base/log.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace cw::ingest {
namespace {

constexpr std::size_t file_bytes_max = 16 * mib, uuid_chars = 36;

Result<SessionTable::Quarantine> parse_line(std::string_view line) {
    const auto bad = [&] {
        return fail(Errc::config_invalid, "the line '" + escape_for_display(line, 120) + "'");
    };
    constexpr std::size_t generation_at = 2 * (uuid_chars + 1);
    if (line.size() <= generation_at || line[uuid_chars] != ' ' || line[generation_at - 1] != ' ') {
        return bad();
    }
    SessionTable::Quarantine out;
    const auto machine = parse_id<MachineId>(line.substr(0, uuid_chars));
    const auto disk = parse_id<DiskId>(line.substr(uuid_chars + 1, uuid_chars));
    if (!machine || !disk) {
        return bad();
    }
    out.machine = *machine;
    out.disk = *disk;
    const char* const end_of_line = line.data() + line.size();
    std::uint64_t generation = 0;
    const auto [end, error] = std::from_chars(line.data() + generation_at, end_of_line, generation);
    if (error != std::errc{} || end == end_of_line || *end != ' ') {
        return bad();
    }
    out.generation = Generation{generation};
    out.why = std::string(end + 1, end_of_line);
    return out;
}

}  // namespace

Result<void> QuarantineFile::load(Disk& disk, SessionTable& table) {
    const auto bytes = read_file(disk, path_, file_bytes_max);
    if (!bytes) {
        return bytes.error().code == Errc::not_found ? Result<void>{}
                                                     : std::unexpected(bytes.error());
    }
    std::string_view text = as_text(*bytes);
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        if (end > 0) {
            auto what = parse_line(text.substr(0, end));
            if (!what) {
                return fail(Errc::config_invalid,
                            path_ + " is damaged: " + what.error().detail +
                                "; restore it, or move it away and check by hand the disks that "
                                "SEQ_CONFLICT was raised for");
            }
            stored_.push_back(*what);
            table.quarantine(std::move(*what));
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return {};
}

Result<void> QuarantineFile::store(Disk& disk, const SessionTable& table) {
    std::vector<SessionTable::Quarantine> now = table.quarantines();
    if (now == stored_) {
        return {};
    }
    std::string text;
    for (const SessionTable::Quarantine& what : now) {
        text += to_string(what.machine) + " " + to_string(what.disk) + " " +
                std::to_string(raw(what.generation)) + " " + what.why + "\n";
    }
    CW_TRY(write_file_atomically(disk, path_, as_bytes(text)));
    stored_ = std::move(now);
    return {};
}

}  // namespace cw::ingest
