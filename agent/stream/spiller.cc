#include "agent/stream/spiller.h"

#include "base/crash_point.h"
#include "base/log.h"

#include <algorithm>
#include <set>

namespace cw::agent {

using pipeline::StreamKey;

namespace {

constexpr std::size_t read_slabs = 8;  // One record of the largest size at a time.
constexpr std::size_t step_budget = 8;
constexpr std::uint64_t us_per_s = ns_per_s / ns_per_us;
constexpr std::uint64_t region_bytes = 16 * mib;
constexpr std::uint64_t spool_bytes_min = 8 * region_bytes;  // What a spool can work with.

bool is_write(const OutboxEntry& entry) noexcept {
    return entry.record.header.type == pipeline::RecordType::write;
}

// The words are those of a server's cache, whose content must not be lost.
template <typename T>
Result<T> name_spool(Result<T> opened, const std::string& directory) {
    if (!opened && opened.error().code != Errc::io_error) {
        opened.error().detail = "--spool-size: " + opened.error().detail + "; nothing in " +
                                directory + " is needed: without it the agent begins a new one";
    }
    return opened;
}

// What was read back for its turn waits behind `first` now, which has to be sent again: it is read
// once more.
void give_back(Outbox& outbox, const OutboxEntry& first) {
    for (OutboxEntry& entry : outbox.entries()) {
        if (&entry != &first && entry.spill.place == SpillState::Place::kept && is_write(entry)) {
            entry.record.drop_data();
            entry.record.table = {};
            entry.spill.place = SpillState::Place::disk;
        }
    }
}

}  // namespace

Result<std::unique_ptr<Spiller>> Spiller::open(const std::string& directory,
                                               std::uint64_t size_bytes, Context context) {
    if (size_bytes < spool_bytes_min) {
        return fail(Errc::usage, "--spool-size: a queue on disk has at least " +
                                     std::to_string(spool_bytes_min / mib) + "MiB; 0: none");
    }
    cache::SpoolOptions options;
    options.path = directory;
    options.size_bytes = align_up(size_bytes, region_bytes);
    options.region_bytes = region_bytes;
    options.prewrite = false;  // Used in outages only: not worth a write of all of it.
    return open(options, {make_best_disk(16), make_best_disk(16)}, context);
}

Result<std::unique_ptr<Spiller>> Spiller::open(const cache::SpoolOptions& options, Disks disks,
                                               Context context) {
    std::unique_ptr<Spiller> spiller(new Spiller(context));
    spiller->conditions_ = std::make_unique<Conditions>(context.clock);
    spiller->metrics_ = make_metric_registry();
    spiller->disk_ = std::move(disks.write);
    spiller->read_disk_ = std::move(disks.read);
    CW_TRY_ASSIGN(spiller->read_pool_, pipeline::SlabPool::create("agent spool", read_slabs));
    auto spool = cache::Spool::open(options, {*spiller->disk_, context.clock, context.random,
                                              *spiller->conditions_, *spiller->metrics_});
    CW_TRY_ASSIGN(spiller->spool_, name_spool(std::move(spool), options.path));
    while (const auto old = spiller->spool_->next_recovered()) {
        spiller->spool_->release(old->lsn);
    }
    for (const auto& stream : spiller->spool_->streams()) {
        spiller->spool_->forget_stream(stream.key);
    }
    for (const auto& lost : spiller->spool_->damaged()) {  // Nobody would ever repair it here.
        spiller->spool_->forget_stream(lost.key);
    }
    CW_TRY_ASSIGN(spiller->reader_,
                  cache::SpoolReader::open(*spiller->spool_, *spiller->read_disk_));
    context.outbox.on_removed([raw_spiller = spiller.get()](const OutboxEntry& entry) {
        if (raw(entry.spill.lsn) != 0) {
            raw_spiller->spool_->release(entry.spill.lsn);
            --raw_spiller->held_;
            raw_spiller->gone(entry.record.header.key);
        }
    });
    context.outbox.note_spool({spiller->usage().room_bytes, 0});
    return spiller;
}

Spiller::~Spiller() {
    context_.outbox.on_removed({});
    context_.outbox.note_spool({});
    while (reader_ && reader_->in_flight() > 0) {  // Its memory is ours.
        read_disk_->wait(ns_per_s);
        reader_->poll();
    }
    // Records that were read back and not acknowledged lie in our memory.
    for (OutboxEntry& entry : context_.outbox.entries()) {
        if (entry.spill.place == SpillState::Place::kept && is_write(entry)) {
            entry.record.slabs = {};
            entry.spill.place = SpillState::Place::lost;
        }
    }
    // What is on its way to the device still lies in our slabs. What finds no room goes nowhere.
    for (int i = 0; spool_ && i < 1000 && disk_->in_flight() > 0 && !spool_->failed(); ++i) {
        spool_->step(step_budget);
        while (spool_->take_durable()) {
        }
        disk_->wait(10 * ns_per_ms);
    }
}

Spiller::Usage Spiller::usage() const {
    const cache::SpoolUsage now = spool_->usage();
    return {.used_bytes = now.live,
            .room_bytes = spool_->failed() ? 0 : now.room,
            .bytes_per_s = bytes_per_s_};
}

bool Spiller::step() {
    const bool worked = round();
    context_.outbox.note_spool({usage().room_bytes, bytes_per_s_});
    return worked;
}

bool Spiller::round() {
    if (spool_->failed()) {
        give_up();
        spool_->step(step_budget);  // What it was given is our memory.
        reader_->poll();
        return settle_loaded();
    }
    bool worked = move_out();
    if (!moving_.empty() || busy() || held_ > 0) {
        worked = spool_->step(step_budget) == pipeline::Progress::worked || worked;
    }
    worked = settle_moved() || worked;
    worked = load_next() || worked;
    worked = (loading_ && reader_->poll() > 0) || worked;
    return settle_loaded() || worked;
}

// The device failed: memory and dirty maps go on without it.
void Spiller::give_up() {
    for (OutboxEntry& entry : context_.outbox.entries()) {
        if (!entry.spill.here() && entry.spill.place != SpillState::Place::lost) {
            entry.spill.place = SpillState::Place::lost;
        }
    }
    moving_.clear();
}

// One record less of this history lies in the spool.
void Spiller::gone(const StreamKey& key) {
    Stretch& stretch = stretches_.at(key);
    CW_ASSERT(stretch.held > 0);
    --stretch.held;
}

// From half of memory in use, the oldest first: what the server takes soon stays where it is.
bool Spiller::move_out() {
    bool worked = false, all_seen = true;
    std::set<std::uint16_t> waiting;  // Slots: what follows of these must not overtake.
    context_.outbox.collect();
    auto& entries = context_.outbox.entries();
    const std::uint64_t first = context_.outbox.first_number();
    seen_ = std::max(seen_, first);
    // An outage of days is a long queue: only its end is looked at.
    for (std::size_t i = seen_ - first; i < entries.size(); ++i) {
        OutboxEntry& entry = entries[i];
        if (context_.pool.free_count() * 2 >= context_.pool.count()) {
            break;
        }
        const bool here_alone =
            entry.spill.place == SpillState::Place::memory && entry.slot != wire::machine_slot;
        const Appended appended = !here_alone                    ? Appended::before
                                  : waiting.contains(entry.slot) ? Appended::held
                                                                 : append(entry);
        if (appended == Appended::full) {
            break;
        }
        if (appended == Appended::held) {
            waiting.insert(entry.slot);
        }
        worked = worked || appended == Appended::yes;
        all_seen = all_seen && appended != Appended::held;
        seen_ = all_seen ? first + i + 1 : seen_;
    }
    return worked;
}

Spiller::Appended Spiller::append(OutboxEntry& entry) {
    const pipeline::RecordHeader header = entry.record.header;
    if (!may_follow(header)) {
        return Appended::held;
    }
    if (!is_write(entry)) {  // A fence's end has no payload to move, but its sequence counts.
        pipeline::Record copy;
        copy.header = header;
        if (!spool_->append(copy)) {
            return Appended::full;
        }
    } else if (!spool_->append(entry.record)) {
        return Appended::full;
    }
    entry.record.header = header;
    entry.spill.place = SpillState::Place::moving;
    if (moving_.empty()) {
        moving_since_ = context_.clock.boot();
        moved_bytes_ = 0;
    }
    moving_.push_back(header);
    Stretch& stretch = stretches_[header.key];
    stretch.end = entry.last_seq();
    ++stretch.held;
    return Appended::yes;
}

// The spool takes the records of a history without gaps; a fence may leave sequences out. Anywhere
// else a stretch begins only when nothing of the one before it is left.
bool Spiller::may_follow(const pipeline::RecordHeader& header) {
    const auto before = stretches_.find(header.key);
    if (before != stretches_.end()) {
        const Seq end = before->second.end;
        if (header.seq == next(end) ||
            (header.type == pipeline::RecordType::resync_begin && header.seq > end)) {
            return true;
        }
        if (before->second.held > 0) {
            return false;
        }
    }
    std::erase_if(stretches_, [&](const auto& each) {
        const bool over = each.first.disk == header.key.disk && each.second.held == 0;
        if (over) {  // Of an earlier generation, too.
            spool_->forget_stream(each.first);
        }
        return over;
    });
    spool_->settle_stream(header.key, Seq{raw(header.seq) - 1}, Seq{});
    return true;
}

bool Spiller::settle_moved() {
    bool worked = false;
    while (!moving_.empty()) {
        const auto stored = spool_->take_durable();
        if (!stored) {
            break;
        }
        worked = true;
        const pipeline::RecordHeader header = moving_.front();
        moving_.pop_front();
        moved_bytes_ += header.table_bytes + header.data_bytes;
        OutboxEntry* const entry = find(header, true);
        if (entry == nullptr || entry->spill.place != SpillState::Place::moving) {
            spool_->release(stored->lsn);  // Acknowledged or dropped meanwhile.
            gone(header.key);
            continue;
        }
        CW_CRASH_POINT("agent.spool.moved");
        context_.outbox.spilled(*entry, stored->lsn);
        entry->spill.place = is_write(*entry) ? SpillState::Place::disk : SpillState::Place::kept;
        ++held_;
    }
    const std::int64_t took_us = (context_.clock.boot() - moving_since_) / ns_per_us;
    if (worked && took_us > 0) {
        bytes_per_s_ = moved_bytes_ * us_per_s / static_cast<std::uint64_t>(took_us);
    }
    return worked;
}

bool Spiller::load_next() {
    if (loading_) {
        return false;
    }
    OutboxEntry* const entry = context_.outbox.next_unsent();
    if (entry == nullptr || entry->spill.place != SpillState::Place::disk) {
        return false;
    }
    auto load = std::make_unique<Load>();
    load->record.header = entry->record.header;
    if (read_pool_->free_count() < load->record.slab_count()) {
        give_back(context_.outbox, *entry);
    }
    for (std::size_t i = 0; i < load->record.slab_count(); ++i) {
        load->record.slabs[i] = read_pool_->try_take();
        if (!load->record.slabs[i]) {
            return false;
        }
    }
    loading_ = std::move(load);
    entry->spill.place = SpillState::Place::loading;
    reader_->read(entry->spill.lsn, loading_->record,
                  [state = loading_.get()](Result<void> done) { state->done = std::move(done); });
    return true;
}

bool Spiller::settle_loaded() {
    if (!loading_ || !loading_->done) {
        return false;
    }
    const auto load = std::move(loading_);
    OutboxEntry* const entry = find(load->record.header, false);
    if (entry == nullptr || entry->spill.place != SpillState::Place::loading) {
        return true;
    }
    if (!*load->done) {
        log_error("agent.spool.read", {{"error", load->done->error()}});
        entry->spill.place = SpillState::Place::lost;
        return true;
    }
    CW_CRASH_POINT("agent.spool.read");
    entry->record.table = std::move(load->record.table);
    entry->record.slabs = std::move(load->record.slabs);
    entry->spill.place = SpillState::Place::kept;
    return true;
}

OutboxEntry* Spiller::find(const pipeline::RecordHeader& header, bool newest_first) {
    auto& entries = context_.outbox.entries();
    const auto same = [&](const OutboxEntry& each) {
        return each.record.header.seq == header.seq && each.record.header.key == header.key;
    };
    if (newest_first) {
        const auto entry = std::find_if(entries.rbegin(), entries.rend(), same);
        return entry == entries.rend() ? nullptr : &*entry;
    }
    const auto entry = std::ranges::find_if(entries, same);
    return entry == entries.end() ? nullptr : &*entry;
}

}  // namespace cw::agent
