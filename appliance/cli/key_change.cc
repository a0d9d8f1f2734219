#include "appliance/cli/key_change.h"

#include "base/crash_point.h"
#include "base/whole_file.h"
#include "egress/vault/key_check.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

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

constexpr const char* replaced_at = ".until-";

// `take` makes a file of the name that it is given, or refuses with file_exists: the name for a key
// that is replaced at `now_s`, or as many seconds later as names are taken. Two keys may be
// replaced within one second, by two who do not know of each other, and the name of one never goes
// to another.
Result<std::string> take_name_of_old(const std::string& kek_file, std::int64_t now_s,
                                     const std::function<Result<void>(const std::string&)>& take) {
    constexpr std::int64_t names_tried_max = 60;
    for (std::int64_t i = 0; i < names_tried_max; ++i) {
        std::string name = kek_file + replaced_at + text_of(now_s + i, time_form);
        const Result<void> taken = take(name);
        if (taken) {
            return name;
        }
        if (taken.error().code != Errc::file_exists) {
            return std::unexpected(taken.error());
        }
    }
    return fail(Errc::file_exists, "too many keys were replaced just now beside " + kek_file);
}

// Since when it is not the key any more, by its name.
Result<std::int64_t> replaced_s(const std::string& old, const std::string& kek_file) {
    const std::string prefix = kek_file + replaced_at;
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

// The text of a key file that gives it more than once: a pipe's would be used up when all is
// rewrapped, and the key lost. The file as it is, for keeping; the caller wipes it.
Result<ByteVector> lasting_text(Disk& disk, const std::string& path) {
    constexpr std::size_t key_bytes_max = 4096;
    auto text = read_file(disk, path, key_bytes_max);
    if (!text) {
        Error& error = text.error();
        error.next = error.code == Errc::config_invalid
                         ? "nothing was changed; put the key into a regular file"
                         : "";
        error.code = Errc::key_unavailable;
    }
    return text;
}

// As open_kek_file, of a file that will be the vault's key.
Result<std::unique_ptr<vault::KeyService>> open_lasting_key(Disk& disk, const std::string& path,
                                                            Random& random) {
    CW_TRY_ASSIGN(ByteVector text, lasting_text(disk, path));
    wipe(text);
    return vault::open_kek_file(disk, path, random);
}

// Whoever changes the key as root leaves it to the user whose daemon reads it. Never through a
// link: who may write in this directory could make one to another's file.
Result<void> give_to_owner_of(const std::string& like, const std::string& path) {
    struct stat there{};
    if (::stat(like.c_str(), &there) != 0) {
        return fail_errno(Errc::io_error, "look at " + like, errno);
    }
    if (::geteuid() == 0 && ::lchown(path.c_str(), there.st_uid, there.st_gid) != 0) {
        return fail_errno(Errc::io_error, "give " + path + " to the owner of " + like, errno);
    }
    return {};
}

// The old key's text beside the file, for older copies of the vault; returns where.
Result<std::string> keep_old(const SystemSeams& seams, const std::string& kek_file) {
    const std::int64_t now_s = raw(seams.clock->wall()) / 1'000'000;
    // A copy that was cut short would outlive the order to destroy it.
    remove_left_overs(*seams.disk, kek_file + replaced_at);
    CW_TRY_ASSIGN(ByteVector text, lasting_text(*seams.disk, kek_file));
    const auto old = take_name_of_old(kek_file, now_s, [&](const std::string& name) {
        return create_file_atomically(*seams.disk, *seams.random, name, text, 0400);
    });
    wipe(text);
    CW_TRY(old);
    CW_TRY(give_to_owner_of(kek_file, *old));
    return old;
}

bool opens_any(const std::vector<vault::KeyObjectCheck>& objects) {
    return std::ranges::any_of(objects,
                               [](const vault::KeyObjectCheck& object) { return !object.locked; });
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
    CW_TRY(arm_crash_point_from_environment());
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    Disk& disk = *cli.seams.disk;
    // A daemon would go on wrapping the keys of new machines with the old one.
    CW_TRY_ASSIGN(const auto no_daemon, lock_directory(disk, settings.server_state_dir));
    const std::string &current = settings.security_kek_file, next = current + ".next";
    CW_TRY_ASSIGN(const auto from, open_lasting_key(disk, current, *cli.seams.random));
    CW_TRY_ASSIGN(const bool begun, disk.exists(next));
    if (!begun) {
        CW_TRY(vault::create_kek_file(disk, next, *cli.seams.random));
    }
    CW_TRY(give_to_owner_of(current, next));  // Also of a run that was cut short.
    CW_TRY_ASSIGN(const auto to, open_lasting_key(disk, next, *cli.seams.random));
    CW_CRASH_POINT("keys.next_made");
    CW_TRY_ASSIGN(const auto stores, open_stores(settings, cli.seams, false));
    const auto store = stores->make();
    CW_TRY_ASSIGN(const std::size_t rewrapped, vault::rotate_kek(*store, *from, *to));
    CW_CRASH_POINT("keys.rewrapped");
    CW_TRY_ASSIGN(const std::string old, keep_old(cli.seams, current));
    CW_CRASH_POINT("keys.old_kept");
    CW_TRY(rename_durably(disk, next, current));
    CW_CRASH_POINT("keys.replaced");
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
    CW_TRY(arm_crash_point_from_environment());
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    Disk& disk = *cli.seams.disk;
    const std::string& current = settings.security_kek_file;
    CW_TRY_ASSIGN(std::int64_t since_s, replaced_s(old, current));
    CW_TRY_ASSIGN(const auto from, vault::open_kek_file(disk, old, *cli.seams.random));
    CW_TRY_ASSIGN(const auto to, vault::open_kek_file(disk, current, *cli.seams.random));
    CW_TRY_ASSIGN(const auto stores, open_stores(settings, cli.seams, false));
    const auto store = stores->make();
    CW_TRY_ASSIGN(const auto wrapped_by_old, vault::check_key_objects(*store, *from));
    const std::int64_t now_s = raw(cli.seams.clock->wall()) / 1'000'000;
    std::string kept = old;
    const auto count_anew = [&]() -> Result<void> {  // Who wrote what was found may write more.
        CW_TRY_ASSIGN(kept, take_name_of_old(current, now_s, [&](const std::string& name) {
                          return give_free_name(disk, old, name);
                      }));
        since_s = now_s;
        return {};
    };
    if (opens_any(wrapped_by_old)) {  // First: afterwards nothing tells that there was something.
        CW_TRY(count_anew());
        CW_CRASH_POINT("keys.time_anew");
    }
    // A server may run: it makes objects and never overwrites one, and we overwrite by etag.
    auto rewrapped = vault::rotate_kek(*store, *from, *to);
    if (!rewrapped) {
        rewrapped.error().detail += "; the old key is in " + kept;
        return std::unexpected(std::move(rewrapped).error());
    }
    if (*rewrapped > 0 && kept == old) {  // It landed between the two looks.
        CW_TRY(count_anew());
    }
    CW_TRY(require_all_open(*store, *to));
    const bool dispensable = kept == old && now_s - since_s >= late_write_s;
    const std::string again = text_of(since_s + late_write_s, "%Y-%m-%d %H:%M:%S UTC");
    if (cli.json) {
        print_json({{"old_kek_file", kept},
                    {"rewrapped", *rewrapped},
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
            kept.c_str(), *rewrapped, again.c_str(), kept.c_str());
    }
    return {};
}

}  // namespace cw::appliance
