// causeway hrl: what a disk became between two recovery points, as a Hyper-V replica log.
#include "agent/hrl/hrl_file.h"
#include "appliance/cli/point.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/cli/written_disks.h"
#include "base/full_disk.h"
#include "recovery/point_diff.h"
#include "recovery/restore.h"

#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using recovery::PointPair;

struct HrlOptions {
    PointChoice from;  // Its point is the older image's.
    std::string to = "latest", output;
};

struct WrittenLog {
    agent::HrlHeader header;
    std::uint64_t entries = 0;
    recovery::PointDiffReport diff;
};

Result<recovery::PointDisk> find_place(const OpenedCatalog& opened, const std::string& point,
                                       const std::string& disk) {
    recovery::PointDisk place;
    CW_TRY_ASSIGN(place.point, find_point(opened, point));
    CW_TRY_ASSIGN(place.disk, opened.catalog->find_disk(*place.point, disk));
    return place;
}

Result<WrittenLog> write_log(Cli& cli, const OpenedCatalog& opened, const PointPair& points,
                             const std::string& output) {
    const recovery::PointDisk &from = points.from, &to = points.to;
    WrittenLog written;
    // A disk at a point is one image, by whatever way it was reached: logs that lead from point to
    // point continue each other, whenever they are made.
    written.header.previous = recovery::image_id(from.point->id, from.disk.disk);
    written.header.id = recovery::image_id(to.point->id, to.disk.disk);
    Clock& clock = *cli.seams.clock;
    // A name of its own: whatever lies beside the output is somebody's.
    const std::string part =
        output + "." + to_string(make_id<Uuid<struct PartTag>>(*cli.seams.random)) + ".part";
    const auto at_output = [&output](auto result) {
        const std::string directory = std::filesystem::path(output).parent_path();
        return name_full_disk(std::move(result), directory.empty() ? "." : directory,
                              "the replica log");
    };
    CW_TRY_ASSIGN(auto log, at_output(agent::HrlFile::begin(*cli.seams.disk, part, written.header,
                                                            clock.wall())));
    stop_on_signals();  // From here on there is something to tidy up.
    ProgressLine progress(clock, "written");
    CW_TRY_ASSIGN(written.diff,
                  recovery::diff_points(
                      *opened.source, points, {.download_threads = opened.download_threads},
                      [&](std::uint64_t offset, Bytes data) -> Result<void> {
                          if (stop_requested()) {
                              return fail(Errc::cancelled, "before the log was whole");
                          }
                          return at_output(log.write(offset, data, to.point->source_time));
                      },
                      [&](std::uint64_t done, std::uint64_t all) { progress.update(done, all); }));
    progress.finish();
    CW_TRY(at_output(log.close(to.point->source_time)));
    CW_TRY(at_output(log.publish(output)));
    written.entries = log.entries();
    return written;
}

void print_log(const Cli& cli, const WrittenLog& log, const PointPair& points,
               const std::string& output) {
    const recovery::PointDisk &from = points.from, &to = points.to;
    if (cli.json) {
        print_json({{"output", output},
                    {"disk", to_string(to.disk.disk)},
                    {"from", to_string(from.point->id)},
                    {"to", to_string(to.point->id)},
                    {"id", agent::hrl_id_text(log.header.id)},
                    {"previous", agent::hrl_id_text(log.header.previous)},
                    {"writes", log.entries},
                    {"bytes", log.diff.differing_bytes},
                    {"fetched_bytes", log.diff.fetched_bytes},
                    {"index_bytes", log.diff.index_bytes}});
        return;
    }
    std::printf("%s: log %s, continues %s\n  %llu writes of %s%s\n", output.c_str(),
                agent::hrl_id_text(log.header.id).c_str(),
                agent::hrl_id_text(log.header.previous).c_str(),
                static_cast<unsigned long long>(log.entries),
                config::format_bytes(log.diff.differing_bytes).c_str(),
                fetched_text(log.diff.fetched_bytes, log.diff.index_bytes).c_str());
}

Result<void> hrl(Cli& cli, const HrlOptions& options) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.from));
    PointPair points;
    CW_TRY_ASSIGN(points.from, find_place(opened, options.from.point, options.from.disk));
    CW_TRY_ASSIGN(points.to, find_place(opened, options.to, to_string(points.from.disk.disk)));
    if (points.from.point == points.to.point) {
        return fail(Errc::usage,
                    "--from and --to are the same point: " + to_string(points.to.point->id));
    }
    CW_TRY_ASSIGN(const bool taken, cli.seams.disk->exists(options.output));
    if (taken) {
        return fail(Errc::file_exists, options.output);
    }
    CW_TRY_ASSIGN(const WrittenLog log, write_log(cli, opened, points, options.output));
    print_log(cli, log, points, options.output);
    return {};
}

}  // namespace

void add_hrl_command(CLI::App& app, Cli& cli) {
    CLI::App* command = app.add_subcommand(
        "hrl", "Write what a disk became between two points as a Hyper-V replica log");
    auto options = std::make_shared<HrlOptions>();
    options->from.point.clear();  // It has no default.
    add_point_options(*command, "--from", options->from);
    command->get_option("--from")->required();
    add_point_option(*command, "--to", options->to);
    command->add_option("--output", options->output, "The log's file")->required();
    command->callback([&cli, options] { cli.run([&] { return hrl(cli, *options); }); });
}

}  // namespace cw::appliance
