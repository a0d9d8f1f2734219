#include "agent/program/progress_line.h"

#include "ingest/wire/mode_text.h"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace cw::agent {
namespace {

constexpr std::int64_t plain_every_ns = 5 * ns_per_s;

std::string amount(double bytes) {
    constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < units.size()) {
        bytes /= 1024;
        ++unit;
    }
    return unit == 0 ? fmt::format("{:.0f} {}", bytes, units[unit])
                     : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string duration(double seconds) {
    const auto s = static_cast<std::int64_t>(seconds);
    return fmt::format("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

double smooth(double before, double now) {
    return before == 0 ? now : before * 0.7 + now * 0.3;
}

}  // namespace

ProgressLine::ProgressLine(Clock& clock, Form form)
    : clock_(clock), form_(form), terminal_(::isatty(STDERR_FILENO) == 1) {}

void ProgressLine::show(const Replicator::Status& status) {
    if (form_ == Form::json) {
        show_json(status);
        return;
    }
    if (form_ == Form::none) {
        return;
    }
    const std::string line = text(status);
    if (terminal_) {
        std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
        std::fflush(stderr);
    } else if (clock_.boot() - printed_ >= plain_every_ns) {
        printed_ = clock_.boot();
        std::fprintf(stderr, "%s\n", line.c_str());
    }
}

void ProgressLine::finish() {
    if (form_ == Form::text && terminal_) {
        std::fprintf(stderr, "\n");
    }
}

void ProgressLine::show_json(const Replicator::Status& status) {
    if (clock_.boot() - printed_ < ns_per_s) {
        return;
    }
    printed_ = clock_.boot();
    // Names of phases and errors are ours: nothing in them needs quoting.
    std::string disks;
    for (const auto& disk : status.disks) {
        disks += fmt::format(
            R"({}{{"id":"{}","phase":"{}","mode":"{}","sync_total_bytes":{},"sync_done_bytes":{},)"
            R"("missed_bytes":{},"committed":{}}})",
            disks.empty() ? "" : ",", to_string(disk.id), disk.phase, name_of(disk.mode),
            disk.base.total_bytes, disk.base.done_bytes, disk.missed_bytes, raw(disk.committed));
    }
    fmt::print(R"({{"link":"{}","sent_bytes":{},"queued_bytes":{},"rpo_ms":{},"error":"{}",)"
               R"("disks":[{}]}})"
               "\n",
               name_of(status.link), status.sent_bytes, status.queued_bytes, status.rpo_ms,
               status.last_error ? name_of(status.last_error->code) : "", disks);
    std::fflush(stdout);
}

std::string ProgressLine::text(const Replicator::Status& status) {
    std::uint64_t total = 0, done = 0, missed = 0;
    std::string phase = "protected";
    for (const auto& disk : status.disks) {
        total += disk.base.total_bytes;
        done += disk.base.done_bytes;
        missed += disk.missed_bytes;
        phase = disk.phase == "protected" ? phase : disk.phase;
    }
    const Nanos now = clock_.boot();
    const double seconds = static_cast<double>(now - last_) / static_cast<double>(ns_per_s);
    if (raw(last_) != 0 && seconds > 0) {
        rate_ = smooth(rate_, static_cast<double>(status.sent_bytes - last_sent_) / seconds);
        sync_rate_ = done < last_done_
                         ? 0
                         : smooth(sync_rate_, static_cast<double>(done - last_done_) / seconds);
    }
    last_ = now;
    last_sent_ = status.sent_bytes;
    last_done_ = done;
    std::string out =
        fmt::format("{} {} sent, {}/s, {}", name_of(status.link),
                    amount(static_cast<double>(status.sent_bytes)), amount(rate_), phase);
    if (total > 0) {
        out += fmt::format(" {:.0f} %",
                           100.0 * static_cast<double>(done) / static_cast<double>(total));
        if (sync_rate_ > 0) {
            out += " (ETA " + duration(static_cast<double>(total - done) / sync_rate_) + ")";
        }
    }
    if (status.queued_bytes + missed > 0) {
        out += ", backlog " + amount(static_cast<double>(status.queued_bytes + missed));
    }
    out += status.rpo_ms < 0
               ? ", no point yet"
               : fmt::format(", RPO {:.1f} s", static_cast<double>(status.rpo_ms) / 1e3);
    return status.last_error ? out + ", " + std::string(name_of(status.last_error->code)) : out;
}

}  // namespace cw::agent
