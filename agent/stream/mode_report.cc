#include "agent/stream/mode_report.h"

#include "base/log.h"
#include "ingest/wire/mode_text.h"

#include <algorithm>
#include <utility>

namespace cw::agent {
namespace {

using wire::ReplicationMode;

constexpr std::int64_t again_after_ns = 5 * ns_per_s;

}  // namespace

void ModeReport::Sum::add(const DiskCapture::Position& disk) {
    if (disk.logging || disk.missed_bytes == 0) {
        return;
    }
    mode_.backlog_bytes += disk.missed_bytes;
    if (disk.mode > mode_.mode) {
        mode_.mode = disk.mode;
        why_ = disk.missed_why;
    }
}

wire::Mode ModeReport::Sum::done() && {
    if (mode_.mode != ReplicationMode::data) {
        mode_.reason = std::string(why_) + (mode_.mode == ReplicationMode::metadata
                                                ? ": which bytes change is noted"
                                                : ": which blocks change is noted");
    }
    return std::move(mode_);
}

bool ModeReport::update(wire::Mode now) {
    const bool other = now.mode != now_.mode || now.reason != now_.reason;
    now_ = std::move(now);
    if (other) {
        log_info("agent.mode", {{"mode", name_of(now_.mode)},
                                {"backlog_bytes", now_.backlog_bytes},
                                {"reason", now_.reason}});
    }
    return other;
}

Nanos ModeReport::due() const noexcept {
    if (now_.mode != told_) {
        return Nanos{};
    }
    return now_.mode == ReplicationMode::data ? Nanos{INT64_MAX} : told_at_ + again_after_ns;
}

}  // namespace cw::agent
