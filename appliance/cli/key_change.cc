#include "appliance/cli/key_change.h"

#include "egress/vault/key_check.h"

#include <cstdio>
#include <ctime>
#include <filesystem>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr const char* time_form = "%Y%m%dT%H%M%SZ";

std::string text_of(std::int64_t wall_s, const char* form) {
    const time_t time = wall_s;
    tm parts{};
    char text[32] = {};
    gmtime_r(&time, &parts);
    strftime(text, sizeof text, form, &parts);
    return text;
}

std::string name_of_old(const std::string& kek_file, WallMicros now) {
    return kek_file + ".until-" + text_of(raw(now) / 1'000'000, time_form);
}

// Since when it is not the key any more, by its name.
Result<std::int64_t> replaced_s(const std::string& old, const std::string& kek_file) {
    const std::string prefix = kek_file + ".until-";
    tm parts{};
    const char* const end = old.starts_with(prefix)
                                ? strptime(old.c_str() + prefix.size(), time_form, &parts)
                                : nullptr;
    if (end == nullptr || *end != '\0') {
        return fail(Errc::usage, "a key that was replaced is named " + prefix + "TIME");
    }
    return static_cast<std::int64_t>(timegm(&parts));
}

Result<void> rename_durably(Disk& disk, const std::string& from, const std::string& to) {
    CW_TRY(disk.rename(from, to));
    const std::string directory = std::filesystem::path(to).parent_path().string();
    return disk.sync_directory(directory.empty() ? "." : directory);
}

// What `kek` does not open, of all there is in `keys`.
Result<void> require_all_open(blob::BlobStore& store, vault::KeyService& kek) {
    CW_TRY_ASSIGN(const auto objects, vault::check_key_objects(store, kek));
    for (const vault::KeyObjectCheck& object : objects) {
        if (object.locked) {
            return std::unexpected(*object.locked);
        }
    }
    return {};
}

}  // namespace

// The new key file is beside the old one until every key in the vault is wrapped by it, so that
// whoever is interrupted has both, and goes on by doing it again.
Result<void> rotate_kek_file(Cli& cli) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    Disk& disk = *cli.seams.disk;
    // A daemon would go on wrapping the keys of new machines with the old one.
    CW_TRY_ASSIGN(const auto no_daemon, lock_directory(disk, settings.server_state_dir));
    const std::string &current = settings.security_kek_file, next = current + ".next";
    CW_TRY_ASSIGN(const auto from, vault::open_kek_file(disk, current, *cli.seams.random));
    CW_TRY_ASSIGN(const bool begun, disk.exists(next));
    if (!begun) {
        CW_TRY(vault::create_kek_file(disk, next, *cli.seams.random));
    }
    CW_TRY_ASSIGN(const auto to, vault::open_kek_file(disk, next, *cli.seams.random));
    CW_TRY_ASSIGN(const auto stores, open_stores(settings, cli.seams, false));
    const auto store = stores->make();
    CW_TRY_ASSIGN(const std::size_t rewrapped, vault::rotate_kek(*store, *from, *to));
    const std::string old = name_of_old(current, cli.seams.clock->wall());
    constexpr std::size_t key_bytes_max = 4096;
    CW_TRY_ASSIGN(ByteVector text, read_file(disk, current, key_bytes_max));
    const auto kept = write_file_atomically(disk, old, text, 0400);
    wipe(text);
    CW_TRY(kept);
    CW_TRY(rename_durably(disk, next, current));
    if (cli.json) {
        print_json({{"kek_file", current}, {"old_kek_file", old}, {"rewrapped", rewrapped}});
    } else {
        std::printf(
            "%zu keys of the vault are wrapped by the new key in %s\n"
            "now: print the new kit (causeway keys kit), give the file to every server "
            "of this vault, start them\n"
            "the old one is in %s: keep it. What a server was writing under it may still land, "
            "or another server may not have the new file yet\n"
            "15 minutes after the last server got the new file: causeway keys retire %s says "
            "whether it may be destroyed\n",
            rewrapped, current.c_str(), old.c_str(), old.c_str());
    }
    return {};
}

Result<void> retire_kek_file(Cli& cli, const std::string& old) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    Disk& disk = *cli.seams.disk;
    const std::string& current = settings.security_kek_file;
    CW_TRY_ASSIGN(std::int64_t since_s, replaced_s(old, current));
    CW_TRY_ASSIGN(const auto from, vault::open_kek_file(disk, old, *cli.seams.random));
    CW_TRY_ASSIGN(const auto to, vault::open_kek_file(disk, current, *cli.seams.random));
    CW_TRY_ASSIGN(const auto stores, open_stores(settings, cli.seams, false));
    const auto store = stores->make();
    // A server may run: it makes objects and never overwrites one, and we overwrite by etag.
    CW_TRY_ASSIGN(const std::size_t rewrapped, vault::rotate_kek(*store, *from, *to));
    CW_TRY(require_all_open(*store, *to));
    const WallMicros now = cli.seams.clock->wall();
    const std::int64_t now_s = raw(now) / 1'000'000;
    std::string kept = old;
    if (rewrapped > 0) {  // Who wrote it may write more: the time counts from now.
        kept = name_of_old(current, now);
        since_s = now_s;
        CW_TRY(rename_durably(disk, old, kept));
    }
    const bool dispensable = rewrapped == 0 && now_s - since_s >= late_write_s;
    const std::string again = text_of(since_s + late_write_s, "%Y-%m-%d %H:%M:%S UTC");
    if (cli.json) {
        print_json({{"old_kek_file", kept},
                    {"rewrapped", rewrapped},
                    {"dispensable", dispensable},
                    {"look_again_at", dispensable ? json() : json(again)}});
    } else if (dispensable) {
        std::printf(
            "nothing in the vault is wrapped by %s: it may be destroyed, once every server of "
            "this vault has the new file (shred -u)\nolder copies of the vault open with it "
            "alone\n",
            kept.c_str());
    } else {
        std::printf(
            "KEEP %s\n%zu keys were still wrapped by it and are wrapped anew; what was being "
            "written may still land\nlook again after %s: causeway keys retire %s\n",
            kept.c_str(), rewrapped, again.c_str(), kept.c_str());
    }
    return {};
}

}  // namespace cw::appliance
