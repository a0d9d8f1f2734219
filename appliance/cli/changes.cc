// causeway changes: what was written to a failed-over machine's image since it was the point, as a
// hint for the failback.
#include "appliance/cli/changes.h"

#include "agent/nbd/nbd_reader.h"
#include "agent/qemu/qemu_image_info.h"
#include "appliance/cli/point.h"
#include "appliance/operator/failback_hint.h"
#include "appliance/operator/scratch_directory.h"
#include "appliance/operator/subprocess.h"
#include "base/log.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using recovery::ByteRange;

struct ChangesOptions {
    std::string machine, disk, image, output;
};

constexpr std::int64_t info_ns = 60 * ns_per_s, ready_ns = 60 * ns_per_s;

struct ImageBitmap {
    std::string name;  // "since-" and the point's id.
    std::uint64_t size_bytes = 0;
};

// The bitmap that the failover left. Errors: not_found (there is none); resync_required (it does
// not know all that was written); source_gone (it cannot be read: a machine uses it, or it is no
// qcow2).
Result<ImageBitmap> find_bitmap(Cli& cli, const std::string& image) {
    CW_TRY_ASSIGN(const CommandResult info,
                  run_command({"qemu-img", "info", "-f", "qcow2", "--output=json", image},
                              *cli.seams.clock, {.timeout_ns = info_ns}));
    if (info.exit_code != 0) {
        return fail(Errc::source_gone,
                    "stop the machine first; the image is a failover's, of format qcow2: " +
                        last_words(info.output));
    }
    const auto told = agent::parse_qemu_image_info(info.output);
    if (!told) {
        return fail(told.error().code, image + ": " + told.error().detail);
    }
    ImageBitmap found{.name = {}, .size_bytes = told->size_bytes};
    for (const auto& bitmap : told->bitmaps) {
        if (!bitmap.name.starts_with(since_prefix)) {
            continue;
        }
        if (bitmap.in_use || !bitmap.automatic) {
            return fail(Errc::resync_required,
                        image +
                            ": QEMU ended without storing its bitmap, or stopped recording: fail "
                            "back without a hint");
        }
        if (!found.name.empty()) {
            return fail(Errc::resync_required, image + ": has more than one such bitmap");
        }
        found.name = bitmap.name;
    }
    return found.name.empty() ? fail(Errc::not_found, image + ": no failover left a bitmap in it")
                              : Result<ImageBitmap>(std::move(found));
}

// Neighbours joined; the last one ends with the disk.
std::vector<ByteRange> ranges_of(const agent::BlockSet& blocks, std::uint64_t size_bytes) {
    std::vector<ByteRange> ranges;
    for (const auto& [ordinal, mask] : blocks.words()) {
        for (unsigned bit = 0; bit < 64; ++bit) {
            const std::uint64_t at = ordinal * agent::super_bytes + bit * agent::map_block_bytes;
            if ((mask >> bit & 1) == 0 || at >= size_bytes) {
                continue;
            }
            const std::uint64_t length = std::min(agent::map_block_bytes, size_bytes - at);
            if (!ranges.empty() && ranges.back().offset + ranges.back().length == at) {
                ranges.back().length += length;
            } else {
                ranges.push_back({at, length});
            }
        }
    }
    return ranges;
}

Result<std::vector<ByteRange>> read_bitmap(Cli& cli, const std::string& image,
                                           const ImageBitmap& bitmap) {
    Clock& clock = *cli.seams.clock;
    CW_TRY_ASSIGN(const ScratchDirectory directory,
                  ScratchDirectory::make(temporary_directory(), "changes"));
    const std::string socket = directory.path() + "/socket";
    CW_TRY_ASSIGN(Subprocess server,
                  Subprocess::start({"qemu-nbd", "--read-only", "--format=qcow2",
                                     "--bitmap=" + bitmap.name, "--socket=" + socket, image},
                                    true));
    const Nanos deadline = clock.boot() + ready_ns;
    std::error_code ignored;
    while (!std::filesystem::exists(socket, ignored)) {
        if (server.poll(50 * ns_per_ms) || clock.boot() - deadline >= 0) {
            return fail(Errc::source_gone, "qemu-nbd: " + last_words(server.output()));
        }
    }
    CW_TRY_ASSIGN(auto reader, agent::NbdReader::open({socket, "", bitmap.name}, clock));
    if (reader.size() != bitmap.size_bytes) {
        return fail(Errc::source_gone, image + ": its size has changed meanwhile");
    }
    CW_TRY_ASSIGN(const agent::BlockSet dirty, reader.dirty());
    return ranges_of(dirty, bitmap.size_bytes);
}

// Everything that the vault has of the disk.
HistoryMark newest_of(const recovery::Catalog& catalog, const DiskId& disk) {
    HistoryMark newest;
    for (const vault::PointEntry* point : catalog.points()) {
        for (const vault::PointEntry::Cut& cut : point->cuts) {
            if (cut.disk == disk) {
                newest = std::max(newest, HistoryMark{cut.generation, cut.cut});
            }
        }
    }
    return newest;
}

Result<void> changes(Cli& cli, const ChangesOptions& options) {
    // First the points, then the bitmap: whatever is in a point had been written, and recorded.
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.machine, false));
    const recovery::Catalog& catalog = *opened.catalog;
    CW_TRY_ASSIGN(const ImageBitmap bitmap, find_bitmap(cli, options.image));
    CW_TRY_ASSIGN(const auto* since,
                  catalog.find_point(std::string_view(bitmap.name).substr(since_prefix.size())));
    CW_TRY_ASSIGN(const recovery::DiskAtPoint disk, catalog.find_disk(*since, options.disk));
    if (disk.size_bytes != bitmap.size_bytes) {
        return fail(Errc::usage, options.image + " has " + std::to_string(bitmap.size_bytes) +
                                     " bytes, the disk had " + std::to_string(disk.size_bytes));
    }
    CW_TRY_ASSIGN(const auto ranges, read_bitmap(cli, options.image, bitmap));
    const std::string text = print_hint({.machine = catalog.machine(),
                                         .disk = disk.disk,
                                         .size_bytes = disk.size_bytes,
                                         .since = since->id,
                                         .since_time = since->source_time,
                                         .since_mark = {disk.generation, disk.cut},
                                         .until = newest_of(catalog, disk.disk)},
                                        ranges);
    CW_TRY(write_file_atomically(*cli.seams.disk, options.output, as_bytes(text)));
    std::uint64_t bytes = 0;
    for (const ByteRange& range : ranges) {
        bytes += range.length;
    }
    if (cli.json) {
        print_json({{"output", options.output},
                    {"since", to_string(since->id)},
                    {"disk", to_string(disk.disk)},
                    {"disk_bytes", disk.size_bytes},
                    {"changed_bytes", bytes}});
        return {};
    }
    std::printf("%s: %s of %s were written since point %s\n", options.output.c_str(),
                config::format_bytes(bytes).c_str(), config::format_bytes(disk.size_bytes).c_str(),
                to_string(since->id).c_str());
    return {};
}

}  // namespace

void add_changes_command(CLI::App& app, Cli& cli) {
    CLI::App* command = app.add_subcommand(
        "changes", "What a failed-over machine has written since its failover, as failback --hint");
    auto options = std::make_shared<ChangesOptions>();
    add_machine_option(*command, options->machine);
    command->add_option("--disk", options->disk, "Id or name; not needed if there is only one");
    command->add_option("--image", options->image, "The qcow2 image of the failover; it is stopped")
        ->required();
    command->add_option("--output", options->output, "Where the hint goes")->required();
    command->callback([&cli, options] { cli.run([&] { return changes(cli, *options); }); });
}

}  // namespace cw::appliance
