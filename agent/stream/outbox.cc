#include "agent/stream/outbox.h"

#include <algorithm>
#include <set>
#include <utility>

namespace cw::agent {
namespace {

// What an entry costs outside the slabs.
std::uint64_t cost_of(const OutboxEntry& entry) noexcept {
    const bool spilled = raw(entry.spill.lsn) != 0;
    return sizeof(OutboxEntry) + (spilled ? 0 : entry.record.header.table_bytes);
}

std::uint64_t payload_of(const OutboxEntry& entry) noexcept {
    return std::uint64_t{entry.record.header.table_bytes} + entry.record.header.data_bytes;
}

bool is_point(const OutboxEntry& entry) noexcept {
    return entry.record.header.type == pipeline::RecordType::point;
}

bool is_result(const OutboxEntry& entry) noexcept {
    return entry.record.header.type == pipeline::RecordType::point_result;
}

}  // namespace

void Outbox::push(OutboxEntry entry) {
    table_bytes_.fetch_add(cost_of(entry), std::memory_order_relaxed);
    {
        const std::lock_guard lock(incoming_mutex_);
        incoming_.push_back(std::move(entry));
    }
    wake();
}

void Outbox::collect() {
    std::vector<OutboxEntry> taken;
    {
        const std::lock_guard lock(incoming_mutex_);
        taken.swap(incoming_);
    }
    for (OutboxEntry& entry : taken) {
        payload_bytes_ += payload_of(entry);
        entries_.push_back(std::move(entry));
    }
}

OutboxEntry* Outbox::next_unsent() {
    collect();
    while (next_ < entries_.size() && entries_[next_].sent) {
        ++next_;
    }
    return next_ < entries_.size() ? &entries_[next_] : nullptr;
}

void Outbox::spooled(std::uint16_t slot, Seq seq) {
    if (slot >= spooled_.size()) {
        spooled_.resize(std::size_t{slot} + 1);
    }
    spooled_[slot] = std::max(spooled_[slot], seq);
    trim();
}

void Outbox::point_done(const PointId& id) {
    for (OutboxEntry& entry : entries_) {
        if (is_point(entry) && entry.point == id) {
            entry.point = {};  // Nil: done. It leaves the queue when it is the oldest.
            entry.sent = true;
            break;
        }
    }
    trim();
}

bool Outbox::holds(const PointId& id) {
    collect();
    return std::ranges::any_of(
        entries_, [&id](const OutboxEntry& entry) { return is_point(entry) && entry.point == id; });
}

void Outbox::rewind(const std::vector<Seq>& durable) {
    collect();
    spooled_ = durable;
    while (!told_.empty()) {
        account(told_.back(), true);
        entries_.push_front(std::move(told_.back()));
        told_.pop_back();
    }
    for (OutboxEntry& entry : entries_) {
        entry.sent = false;
    }
    remove_if([&](const OutboxEntry& entry) {
        if (is_result(entry)) {
            return false;  // Whoever has its point still waits for it.
        }
        if (!is_point(entry)) {
            return entry.last_seq() <= durable[entry.slot];
        }
        for (std::size_t slot = 0; slot < entry.cuts.size(); ++slot) {
            if (entry.cuts[slot] < durable[slot]) {
                return true;
            }
        }
        return entry.point.is_nil();
    });
}

bool Outbox::resend(std::uint16_t slot, Seq from) {
    collect();
    const auto wanted = [&](const OutboxEntry& entry) {
        return !is_point(entry) && entry.slot == slot && entry.last_seq() >= from;
    };
    const auto first = std::ranges::find_if(entries_, wanted);
    if (first == entries_.end() || first->record.header.seq != from) {
        return false;
    }
    for (auto entry = first; entry != entries_.end(); ++entry) {
        const bool behind = is_result(*entry) || (is_point(*entry) && !entry->point.is_nil() &&
                                                  entry->cuts[slot] >= from);
        entry->sent = entry->sent && !behind && !wanted(*entry);
    }
    next_ = std::min(next_, static_cast<std::size_t>(first - entries_.begin()));
    return true;
}

void Outbox::drop(std::uint16_t slot, Seq from) {
    collect();
    std::set<PointId> points;
    for (const OutboxEntry& entry : entries_) {
        if (is_point(entry)) {
            points.insert(entry.point);
        }
    }
    // Whoever has a point that has left the queue still waits for the word about it.
    remove_if([&](const OutboxEntry& entry) {
        return is_point(entry) || (is_result(entry) && points.contains(entry.point)) ||
               (entry.slot == slot && entry.record.header.seq >= from);
    });
}

void Outbox::spilled(OutboxEntry& entry, pipeline::Lsn lsn) {
    CW_ASSERT(raw(entry.spill.lsn) == 0 && raw(lsn) != 0);
    account(entry, false);
    entry.spill.lsn = lsn;
    account(entry, true);
}

void Outbox::drop_lost() {
    std::set<std::uint16_t> slots;
    for (const OutboxEntry& entry : entries_) {
        if (entry.spill.place == SpillState::Place::lost) {
            slots.insert(entry.slot);
        }
    }
    for (const std::uint16_t slot : slots) {
        drop(slot, Seq{1});
    }
}

std::optional<Seq> Outbox::oldest(std::uint16_t slot) {
    collect();
    for (const OutboxEntry& entry : entries_) {
        if (entry.slot == slot) {
            return entry.record.header.seq;
        }
    }
    return std::nullopt;
}

bool Outbox::empty() {
    collect();
    trim();  // The word about a group's point is done when it is sent, which nobody answers.
    return entries_.empty();
}

void Outbox::account(const OutboxEntry& entry, bool held) noexcept {
    if (held) {
        payload_bytes_ += payload_of(entry);
        table_bytes_.fetch_add(cost_of(entry), std::memory_order_relaxed);
    } else {
        payload_bytes_ -= payload_of(entry);
        table_bytes_.fetch_sub(cost_of(entry), std::memory_order_relaxed);
    }
}

void Outbox::remove(const OutboxEntry& entry) {
    account(entry, false);
    if (removed_) {
        removed_(entry);
    }
}

void Outbox::trim() {
    const auto finished = [&](const OutboxEntry& entry) {
        if (!entry.sent) {
            return false;
        }
        return is_result(entry) ? true
               : is_point(entry)
                   ? entry.point.is_nil()
                   : entry.slot < spooled_.size() && entry.last_seq() <= spooled_[entry.slot];
    };
    while (!entries_.empty() && finished(entries_.front())) {
        if (is_result(entries_.front())) {
            keep_told(std::move(entries_.front()));
        } else {
            remove(entries_.front());
        }
        entries_.pop_front();
        ++first_number_;
        next_ -= next_ > 0 ? 1 : 0;
    }
}

// Of a word about a group's point.
void Outbox::keep_told(OutboxEntry entry) {
    account(entry, false);
    told_.push_back(std::move(entry));
    if (told_.size() > results_told_max) {
        told_.pop_front();
    }
}

template <typename Predicate>
void Outbox::remove_if(Predicate&& predicate) {
    first_number_ += entries_.size() + 1;
    std::erase_if(entries_, [&](const OutboxEntry& entry) {
        const bool gone = predicate(entry);
        if (gone) {
            remove(entry);
        }
        return gone;
    });
    next_ = 0;
}

}  // namespace cw::agent
