#include "appliance/master_target/record_window.h"

#include "base/assert.h"

namespace cw::appliance {
namespace {

bool lacks_payload(const pipeline::Record& record) noexcept {
    return !record.has_data() || (record.header.table_bytes > 0 && record.table.empty());
}

}  // namespace

RecordWindow::RecordWindow(upload::RecordReader& reader, pipeline::SlabPool& slabs)
    : reader_(reader), slabs_(slabs) {
    CW_ASSERT(slabs_.count() >= readback_slabs_min);
}

bool RecordWindow::fill() {
    bool worked = false;
    while (slots_.size() < records_ahead) {
        pipeline::StoredRecord stored;
        if (!stored_.try_pop(stored)) {
            break;
        }
        slots_.push_back(std::make_unique<Slot>());
        slots_.back()->stored = std::move(stored);
        worked = true;
    }
    for (const auto& slot : slots_) {
        if (lacks_payload(slot->stored.record) && !slot->reading && !slot->read) {
            if (!start_read(*slot)) {
                break;  // In order: the front must never wait for those behind it.
            }
            worked = true;
        }
    }
    return worked;
}

bool RecordWindow::start_read(Slot& slot) {
    pipeline::Record& record = slot.stored.record;
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        if (!record.slabs[i]) {
            record.slabs[i] = slabs_.try_take();
        }
        if (!record.slabs[i]) {
            record.drop_data();
            return false;
        }
    }
    slot.reading = true;
    reader_.read(slot.stored.lsn, record, [&slot](Result<void> outcome) {
        slot.read = std::move(outcome);
        slot.reading = false;
    });
    return true;
}

pipeline::StoredRecord* RecordWindow::front() noexcept {
    if (slots_.empty()) {
        return nullptr;
    }
    Slot& slot = *slots_.front();
    const bool waits = slot.reading || (lacks_payload(slot.stored.record) && !slot.read);
    return waits ? nullptr : &slot.stored;
}

const Error* RecordWindow::unreadable() const noexcept {
    CW_ASSERT(!slots_.empty());
    const auto& read = slots_.front()->read;
    return read && !*read ? &read->error() : nullptr;
}

}  // namespace cw::appliance
