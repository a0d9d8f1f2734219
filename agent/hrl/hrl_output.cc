#include "agent/hrl/hrl_output.h"

#include "agent/full_disk.h"
#include "agent/hrl/hrl_reader.h"
#include "base/checksum.h"
#include "base/log.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <utility>

namespace cw::agent {
namespace {

constexpr std::string_view suffix = ".hrl", behind_mark = " behind";
constexpr std::size_t id_chars = 36, state_bytes_max = 4096, id_shown = 8, place_digits = 8;
constexpr std::uint64_t places = 100'000'000;  // As many as the digits tell apart.

BlockSet without(const BlockSet& all, const BlockSet& some) {
    BlockSet out = all;
    for (const auto& [ordinal, mask] : some.words()) {
        out.remove_mask(ordinal, mask);
    }
    return out;
}

struct StoredNumbers {
    std::uint64_t disk_bytes = 0, place = 0;
};

// " BYTES PLACE"; agents before names had a place wrote " BYTES".
Result<StoredNumbers> parse_numbers(std::string_view text) {
    StoredNumbers out;
    for (std::uint64_t* const field : {&out.disk_bytes, &out.place}) {
        const char* const begin = text.data() + std::min<std::size_t>(1, text.size());
        const auto [end, bad] = std::from_chars(begin, text.data() + text.size(), *field);
        if (!text.starts_with(' ') || bad != std::errc{}) {
            return fail(Errc::record_corrupt, "where numbers are expected");
        }
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (text.empty()) {
            return out;
        }
    }
    return fail(Errc::record_corrupt, "after the last number");
}

// "00000007": the place in the chain.
std::string padded(std::uint64_t place) {
    const std::string digits = std::to_string(place % places);
    return std::string(place_digits - digits.size(), '0') + digits;
}

// "20261121T142900Z": names of logs sort as their times.
std::string stamp(std::uint32_t seconds) {
    const std::time_t time = hrl_epoch_s + seconds;
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    char text[32];
    const std::size_t length = std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts);
    return {text, length};
}

}  // namespace

Result<std::unique_ptr<HrlOutput>> HrlOutput::open(Options options, Context context) {
    CW_ASSERT(options.disk_bytes > 0 && options.disk_bytes % sector_bytes == 0);
    std::unique_ptr<HrlOutput> output(new HrlOutput(std::move(options), context));
    CW_TRY(context.disk.create_directories(output->options_.directory));
    CW_TRY(output->load());
    CW_TRY(output->settle_part());
    if (output->behind_) {
        CW_TRY(output->changed_unseen());
    }
    return output;
}

Result<void> HrlOutput::load() {
    const auto text = read_file(context_.disk, options_.state_path, state_bytes_max);
    if (!text && text.error().code == Errc::not_found) {
        return {};
    }
    CW_TRY(text);
    const std::string_view said = as_text(*text);
    const auto id = parse_hrl_id(said.substr(0, id_chars));
    std::string_view rest = said.substr(std::min(id_chars, said.size()));
    const bool behind = rest.ends_with(behind_mark);
    rest.remove_suffix(behind ? behind_mark.size() : 0);
    const auto numbers = parse_numbers(rest);
    if (!id || !numbers) {
        return fail(Errc::record_corrupt, options_.state_path);
    }
    place_ = numbers->place;
    if (numbers->disk_bytes != options_.disk_bytes) {
        return {};  // Of a disk of another size: a new chain begins.
    }
    last_ = *id;
    behind_ = behind;
    return {};
}

Result<void> HrlOutput::store(const HrlId& last, bool behind) {
    const std::uint64_t place = last == last_ ? place_ : place_ + 1;
    const std::string text = hrl_id_text(last) + " " + std::to_string(options_.disk_bytes) + " " +
                             std::to_string(place) +
                             std::string(behind ? behind_mark : std::string_view{});
    unsure_ = true;
    CW_TRY(write_file_atomically(context_.disk, options_.state_path, as_bytes(text)));
    unsure_ = false;
    last_ = last;
    place_ = place;
    behind_ = behind;
    return {};
}

// A log is the last one from when the state says so: one that had not its name yet gets it.
Result<void> HrlOutput::settle_part() {
    CW_TRY_ASSIGN(const bool there, context_.disk.exists(part()));
    if (!there) {
        return {};
    }
    if (unsure_) {  // The file may say what failed: nothing it may name is removed.
        CW_TRY(store(last_, true));
    }
    const auto log = HrlReader::open(context_.disk, part(), true);
    if (!log && log.error().code != Errc::hrl_broken && log.error().code != Errc::in_use) {
        return std::unexpected(log.error());
    }
    if (!log || log->header().id != last_) {
        return context_.disk.remove(part());
    }
    CW_TRY(context_.disk.rename(part(), path_of(log->header())));
    return context_.disk.sync_directory(options_.directory);
}

// Of the last log. Its header knows seconds only: logs of one second sort by their place.
std::string HrlOutput::path_of(const HrlHeader& header) const {
    return options_.directory + "/" + stamp(header.modified_s) + "-" + padded(place_) + "-" +
           hrl_id_text(header.id).substr(0, id_shown) + std::string(suffix);
}

Result<void> HrlOutput::changed(const BlockSet& blocks) {
    pending_.merge(blocks);
    return pending_.empty() || behind_ ? Result<void>{} : store(last_, true);
}

Result<void> HrlOutput::changed_unseen() {
    BlockSet all;
    all.add_range(0, options_.disk_bytes);
    return changed(all);
}

BlockSet HrlOutput::begin(const BlockSet& dirty, WallMicros time) {
    log_.reset();
    trouble_.reset();
    time_ = time;
    wanted_ = pending_;
    wanted_.merge(dirty);
    if (wanted_.empty()) {
        return {};  // The image of the last log is the image of this epoch.
    }
    if (const auto started = start_log(); !started) {
        give_up(started.error());
        return {};
    }
    return without(wanted_, dirty);
}

Result<void> HrlOutput::start_log() {
    CW_TRY(settle_part());
    CW_TRY(check_room(wanted_.bytes()));
    header_ = {};
    header_.id = make_uuid_bytes(context_.random);
    header_.previous = last_;
    CW_TRY_ASSIGN(HrlFile log, HrlFile::begin(context_.disk, part(), header_, time_));
    log_.emplace(std::move(log));
    return {};
}

Result<void> HrlOutput::check_room(std::uint64_t wanted) const {
    CW_TRY_ASSIGN(const auto names, context_.disk.list(options_.directory));
    std::uint64_t used = wanted;
    for (const std::string& name : names) {
        if (name.ends_with(suffix)) {
            const auto file = context_.disk.open(options_.directory + "/" + name, {});
            used += file ? (*file)->size() : 0;  // Whoever applies it may have taken it just now.
        }
    }
    if (used > options_.bytes_max) {
        return fail(Errc::out_of_budget,
                    options_.directory + " may hold " + std::to_string(options_.bytes_max) +
                        " bytes of logs, with the next one it would be " + std::to_string(used));
    }
    return {};
}

void HrlOutput::write(std::uint64_t offset, Bytes data) {
    if (!log_ || (header_.previous == HrlId{} && all_zero(data))) {
        return;
    }
    if (const auto written = log_->write(offset, data, time_); !written) {
        give_up(written.error());
    }
}

void HrlOutput::give_up(const Error& error) {
    log_.reset();
    trouble_ = name_full_disk(error, options_.directory);
    log_warning("agent.hrl.output", {{"directory", options_.directory}, {"error", *trouble_}});
}

Result<void> HrlOutput::finish_log() {
    CW_TRY(log_->close(time_));
    CW_TRY(context_.disk.sync_directory(options_.directory));
    log_->keep();
    log_.reset();
    // From here on it is the last log, whatever happens before it has its name.
    CW_TRY(store(header_.id, false));
    pending_.clear();
    return settle_part();
}

bool HrlOutput::commit() {
    bool noted = true;
    if (log_) {
        const auto finished = finish_log();
        if (!finished) {
            give_up(finished.error());
        }
        if (last_ == header_.id) {
            wanted_.clear();
            log_info("agent.hrl.written",
                     {{"directory", options_.directory}, {"id", hrl_id_text(last_)}});
        }
    }
    const bool all = wanted_.empty() && pending_.empty();
    const auto stored = all && behind_ ? store(last_, false) : changed(std::exchange(wanted_, {}));
    if (!stored) {
        give_up(stored.error());
        noted = false;
    }
    return noted;
}

void HrlOutput::abandon() {
    log_.reset();
    wanted_.clear();
}

}  // namespace cw::agent
