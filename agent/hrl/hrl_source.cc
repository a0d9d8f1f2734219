#include "agent/hrl/hrl_source.h"

#include "agent/full_disk.h"
#include "base/log.h"

#include <algorithm>
#include <set>

namespace cw::agent {
namespace {

constexpr std::string_view suffix = ".hrl", applying_mark = " applying";
constexpr std::size_t id_chars = 36, state_bytes_max = 4096, logs_max = 65536;
constexpr int pieces_per_step = 8;

}  // namespace

Result<std::unique_ptr<HrlSource>> HrlSource::open(Options options, Context context) {
    std::unique_ptr<HrlSource> source(new HrlSource(std::move(options), context));
    CW_TRY(source->load());
    log_info("agent.hrl.open", {{"directory", source->options_.directory},
                                {"after", hrl_id_text(source->last_)},
                                {"applying", source->applying_}});
    return source;
}

Result<void> HrlSource::load() {
    const auto text = read_file(context_.disk, options_.state_path, state_bytes_max);
    if (!text && text.error().code == Errc::not_found) {
        if (!options_.after) {
            return fail(Errc::usage, "--hrl-after is needed: which log does the image end with?");
        }
        last_ = *options_.after;
        return store();
    }
    CW_TRY(text);
    const std::string_view said = as_text(*text);
    const auto id = parse_hrl_id(said.substr(0, id_chars));
    const std::string_view rest = said.substr(std::min(id_chars, said.size()));
    if (!id || (!rest.empty() && rest != applying_mark)) {
        return fail(Errc::record_corrupt, options_.state_path);
    }
    last_ = *id;
    applying_ = !rest.empty();
    return {};
}

Result<void> HrlSource::store() {
    const std::string text =
        hrl_id_text(last_) + std::string(applying_ ? applying_mark : std::string_view{});
    return name_full_disk(write_file_atomically(context_.disk, options_.state_path, as_bytes(text)),
                          options_.state_path);
}

bool HrlSource::step() {
    if (phase_ == Phase::looking && context_.clock.boot() - look_at_ < 0) {
        return false;
    }
    auto worked = work();
    if (worked) {
        return *worked;
    }
    const Error& error = worked.error();
    if (!trouble_ || trouble_->detail != error.detail) {
        log_warning("agent.hrl.trouble", {{"error", error}});
    }
    trouble_ = error;
    reader_.reset();
    phase_ = Phase::looking;  // What was applied in part is applied again from its start.
    look_at_ = context_.clock.boot() + look_after_trouble_ns;
    return false;
}

Result<bool> HrlSource::work() {
    switch (phase_) {
        case Phase::looking: {
            look_at_ = context_.clock.boot() + look_ns;
            CW_TRY_ASSIGN(const auto name, find_next());
            if (!name) {
                return false;
            }
            CW_TRY_ASSIGN(reader_, HrlReader::open(context_.disk, options_.directory + "/" + *name,
                                                   options_.strict_header));
            name_ = *name;
            phase_ = Phase::checking;
            return true;
        }
        case Phase::checking: {
            CW_TRY_ASSIGN(const bool more, read_some(false));
            if (!more) {
                reader_->rewind();
                applying_ = true;
                CW_TRY(store());  // Before the first write.
                phase_ = Phase::copying;
            }
            return true;
        }
        case Phase::copying: {
            CW_TRY_ASSIGN(const bool more, read_some(true));
            phase_ = more ? Phase::copying : Phase::settling;
            return true;
        }
        case Phase::settling:
            return settle();
    }
    return false;
}

// False: there is no more of this log.
Result<bool> HrlSource::read_some(bool write) {
    for (int i = 0; i < pieces_per_step; ++i) {
        CW_TRY_ASSIGN(const auto piece, reader_->next(context_.capture.image().size()));
        if (!piece) {
            return false;
        }
        if (write) {
            CW_TRY(context_.capture.write(piece->offset, piece->data));
        }
    }
    return true;
}

// The log is applied: its point, as soon as the disk can have one.
Result<bool> HrlSource::settle() {
    if (!context_.replicator.consistent()) {
        return false;
    }
    const HrlHeader header = reader_->header();
    const WallMicros said{(hrl_epoch_s + header.modified_s) * 1'000'000};
    const auto made = context_.replicator.make_point(
        pipeline::PointKind::crash, name_.substr(0, pipeline::point_tag_bytes_max),
        "replica log " + hrl_id_text(header.id), std::min(said, context_.clock.wall()));
    if (!made) {
        return false;  // The queue is full, or the disk lost its place just now.
    }
    log_info("agent.hrl.applied",
             {{"file", name_}, {"id", hrl_id_text(header.id)}, {"entries", header.entry_count}});
    last_ = header.id;
    applying_ = false;
    trouble_.reset();
    reader_.reset();
    phase_ = Phase::looking;
    look_at_ = context_.clock.boot();
    CW_TRY(context_.capture.flush());
    CW_TRY(store());
    return true;
}

Result<void> HrlSource::read_headers() {
    CW_TRY_ASSIGN(const auto names, context_.disk.list(options_.directory));
    for (const std::string& name : names) {
        if (!name.ends_with(suffix) || known_.contains(name) || known_.size() >= logs_max) {
            continue;
        }
        CW_TRY_ASSIGN(const auto file, context_.disk.open(options_.directory + "/" + name, {}));
        ByteVector head(hrl_block_bytes);
        CW_TRY_ASSIGN(const std::size_t got, read_at(context_.disk, *file, 0, head));
        const auto decoded = decode_hrl_header(Bytes(head).first(got));
        if (decoded && decoded->header.end != 0 && decoded->header.end <= file->size()) {
            known_.emplace(name, Known{decoded->header.id, decoded->header.previous});
        }  // Else it is still being written or copied.
    }
    std::erase_if(known_, [&](const auto& entry) {
        return std::ranges::find(names, entry.first) == names.end();
    });
    return {};
}

// Walks back from the last log: those may lie about for as long as people like.
bool HrlSource::applied_before(const Known& log) const {
    std::set<HrlId> seen;
    for (HrlId at = last_; seen.insert(at).second;) {
        if (log.id == at) {
            return true;
        }
        const auto here =
            std::ranges::find_if(known_, [&](const auto& entry) { return entry.second.id == at; });
        if (here == known_.end()) {
            return false;
        }
        at = here->second.previous;
    }
    return false;
}

Result<std::optional<std::string>> HrlSource::find_next() {
    CW_TRY(read_headers());
    std::vector<std::string> next;
    std::string stray;
    for (const auto& [name, log] : known_) {
        if (log.previous == last_ && log.id != last_) {
            next.push_back(name);
        } else if (!applied_before(log)) {
            stray = name;
        }
    }
    if (next.size() > 1) {
        return fail(Errc::hrl_broken,
                    next[0] + " and " + next[1] + " both continue log " + hrl_id_text(last_));
    }
    if (next.empty() && !stray.empty()) {
        return fail(Errc::hrl_broken,
                    stray + " is there, and no log that continues " + hrl_id_text(last_));
    }
    return next.empty() ? std::optional<std::string>{} : next[0];
}

}  // namespace cw::agent
