// pipeline_bench --json [--size 512MiB] [--streams 1,8] [--repeat N] [--only zstd1/verify=full]
//                [--half-load | --mib-per-s 200]:
// the whole process server against the sum of its primitives, measured in the same run on the same
// data.
//
// The server, the blob sink (TLS, checks signatures and CRC-64, discards) and the machines are
// processes of their own; only the server's CPU counts. A case ends when the recovery point behind
// the last write is committed in the vault.
#include "base/ids.h"
#include "bench/corpus.h"
#include "bench/cpu_meter.h"
#include "bench/primitives.h"
#include "bench/report.h"
#include "bench/server_rig.h"
#include "bench/stream_client.h"
#include "bench/temporary_directory.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include <CLI/CLI.hpp>
#include <poll.h>
#include <unistd.h>

namespace cw::bench {
namespace {

struct Arguments {
    std::uint64_t size = 512 * mib, seed = 1;
    std::vector<unsigned> streams{1, 8};
    unsigned repeat = 1, compute_threads = 0;
    std::string bin, directory = ".", only;
    bool half_load = false;
    double mib_per_s = 0;
};

struct Case {
    const char* name;
    const char* compression;
    const char* verify;
    pipeline::CodecChoice codec;
};
constexpr Case cases[] = {
    {"zstd1/verify=full", "zstd", "full", {pipeline::Codec::zstd, 1}},
    {"zstd1/verify=off", "zstd", "off", {pipeline::Codec::zstd, 1}},
    {"lz4/verify=full", "lz4", "full", {pipeline::Codec::lz4, 1}},
    {"lz4/verify=off", "lz4", "off", {pipeline::Codec::lz4, 1}},
};

// In the machines' process: one thread per stream, each with its part of the image; the latencies
// go into `latency_file`. Returns the exit code.
int run_machines(const std::vector<StreamOptions>& streams, Bytes data,
                 const std::string& latency_file) {
    const std::size_t part = data.size() / streams.size();
    std::vector<Result<StreamResult>> results(streams.size(), fail(Errc::internal));
    {
        std::vector<std::jthread> threads;
        threads.reserve(streams.size());
        for (std::size_t i = 0; i < streams.size(); ++i) {
            threads.emplace_back(
                [&, i] { results[i] = run_stream(streams[i], data.subspan(i * part, part)); });
        }
    }
    std::ofstream out(latency_file);
    for (const auto& result : results) {
        if (!result) {
            std::fprintf(stderr, "stream: %s\n", to_string(result.error()).c_str());
            return 1;
        }
        for (const double ms : result->ack_ms) {
            out << ms << '\n';
        }
    }
    return out ? 0 : 1;
}

double percentile(std::vector<double>& sorted, double share) {
    if (sorted.empty()) {
        return 0;
    }
    const auto place = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1));
    return sorted[place];
}

void read_latencies(const std::string& path, CaseReport& report) {
    std::ifstream file(path);
    std::vector<double> all;
    for (double ms = 0; file >> ms;) {
        all.push_back(ms);
    }
    std::ranges::sort(all);
    report.ack_p50_ms = percentile(all, 0.5);
    report.ack_p99_ms = percentile(all, 0.99);
}

Result<void> measure_limit(const Case& c, Bytes data, const std::string& directory,
                           CaseReport& report) {
    const TemporaryDirectory scratch(directory);
    // A part is enough: the primitives' figures per GiB settle within 256 MiB.
    const Bytes sample = data.first(std::min<std::size_t>(data.size(), 256 * mib));
    Primitives primitives;
    measure_transform(primitives, sample, c.codec);
    CW_TRY(measure_spool(primitives, sample, scratch.path()));
    CW_TRY(measure_tls(primitives, sample, scratch.path()));
    report.limit_cpu_s_per_gib = primitives.server_limit(std::string_view(c.verify) == "full");
    report.dsync_p99_ms = primitives.dsync_p99_ms;
    return {};
}

// The server's status is a snapshot that it renews now and then: asked until it stands still.
Result<std::uint64_t> settled_upload(const ServerRig& rig) {
    constexpr int tries = 10, pause_ms = 1'500;
    CW_TRY_ASSIGN(std::uint64_t before, rig.uploaded_bytes());
    for (int i = 0; i < tries; ++i) {
        ::poll(nullptr, 0, pause_ms);
        CW_TRY_ASSIGN(const std::uint64_t now, rig.uploaded_bytes());
        if (now == before) {
            break;
        }
        before = now;
    }
    return before;
}

// `mib_per_s`: what all machines together send; 0: as fast as the server lets them.
Result<CaseReport> run_case(const Arguments& arguments, const Case& c, unsigned streams,
                            double mib_per_s, Bytes data) {
    CaseReport report{.name = std::string(c.name) + "/streams=" + std::to_string(streams) +
                              (mib_per_s == 0 ? "" : "/paced"),
                      .bytes = static_cast<double>(data.size())};
    CW_TRY(measure_limit(c, data, arguments.directory, report));
    const TemporaryDirectory directory(arguments.directory);
    CW_TRY_ASSIGN(const auto rig,
                  ServerRig::start({.bin = arguments.bin,
                                    .directory = directory.path(),
                                    .compression = c.compression,
                                    .verify = c.verify,
                                    .cache_bytes = std::max(2 * data.size(), 1 * gib),
                                    .compute_threads = arguments.compute_threads}));
    std::vector<StreamOptions> machines;
    for (unsigned i = 0; i < streams; ++i) {
        const std::string name = "machine" + std::to_string(i);
        CW_TRY_ASSIGN(const TlsFiles files, rig->make_machine(name));
        machines.push_back(
            {.server = {.host = "127.0.0.1", .port = rig->port()},
             .files = files,
             .name = name,
             .bytes_per_s = mib_per_s * static_cast<double>(mib) / static_cast<double>(streams)});
    }
    const std::string latencies = directory.path() + "/latencies";
    const double cpu_before = process_cpu_s(rig->server_pid()), wall_before = wall_s();
    CW_TRY_ASSIGN(ChildProcess clients,
                  ChildProcess::fork_and([&] { return run_machines(machines, data, latencies); }));
    if (clients.wait() != 0) {
        return fail(Errc::internal, "the machines' process failed; " + rig->last_log_line());
    }
    report.wall_s = wall_s() - wall_before;
    report.cpu_s = process_cpu_s(rig->server_pid()) - cpu_before;
    report.peak_rss_mib = peak_rss_mib(rig->server_pid());
    CW_TRY_ASSIGN(const std::uint64_t uploaded, settled_upload(*rig));
    report.stored_ratio =
        uploaded > 0 ? static_cast<double>(data.size()) / static_cast<double>(uploaded) : 0;
    read_latencies(latencies, report);
    report.load_average = load_average();
    return report;
}

Result<void> measure(const Arguments& arguments, const Case& c, unsigned streams, Bytes data) {
    CW_TRY_ASSIGN(const CaseReport full,
                  run_case(arguments, c, streams, arguments.mib_per_s, data));
    print_json(full);
    if (arguments.half_load) {
        const double mib_per_s = full.bytes / static_cast<double>(mib) / full.wall_s / 2;
        CW_TRY_ASSIGN(const CaseReport half, run_case(arguments, c, streams, mib_per_s, data));
        print_json(half);
    }
    return {};
}

int run(int argc, char** argv) {
    Arguments arguments;
    arguments.bin = std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path();
    bool json = true;
    CLI::App app("The whole process server against the sum of its primitives.");
    app.add_flag("--json", json, "one object per line: the only form there is");
    app.add_option("--size", arguments.size, "of the image, over all streams")
        ->transform(CLI::AsSizeValue(false));
    app.add_option("--seed", arguments.seed);
    app.add_option("--streams", arguments.streams, "machines at once")->delimiter(',');
    app.add_option("--repeat", arguments.repeat, "rounds over all cases");
    app.add_option("--only", arguments.only, "cases whose name contains this");
    app.add_flag("--half-load", arguments.half_load,
                 "each case again at half the rate it reached: for the acknowledgement latency");
    app.add_option("--mib-per-s", arguments.mib_per_s,
                   "what all machines send together; 0: all they can. For pairs at one rate");
    app.add_option("--bin", arguments.bin, "build directory");
    app.add_option("--dir", arguments.directory, "cache and scratch; on the disk to be measured");
    app.add_option("--compute-threads", arguments.compute_threads, "0: one per core");
    CLI11_PARSE(app, argc, argv);

    ByteVector data(align_up(arguments.size, 64 * mib));
    Corpus(arguments.seed).fill(0, data);
    for (unsigned round = 0; round < arguments.repeat; ++round) {
        for (const unsigned streams : arguments.streams) {
            for (const Case& c : cases) {
                if (std::string_view(c.name).find(arguments.only) == std::string_view::npos) {
                    continue;
                }
                if (const auto ok = measure(arguments, c, streams, data); !ok) {
                    std::fprintf(stderr, "pipeline_bench: %s: %s\n", c.name,
                                 to_string(ok.error()).c_str());
                    return 1;
                }
            }
        }
    }
    return 0;
}

}  // namespace
}  // namespace cw::bench

int main(int argc, char** argv) {
    return cw::bench::run(argc, argv);
}
