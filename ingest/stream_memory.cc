#include "ingest/stream_memory.h"

#include <algorithm>

namespace cw::ingest {

void StreamMemory::begin(const std::vector<pipeline::DiskWelcome>& disks) {
    const std::scoped_lock lock(mutex_);
    std::erase_if(streams_, [&](const Stream& stream) {
        return std::ranges::none_of(disks, [&](const pipeline::DiskWelcome& disk) {
            return disk.disk == stream.disk && disk.generation == stream.generation;
        });
    });
    for (const pipeline::DiskWelcome& disk : disks) {
        if (find(disk.disk, disk.generation) == nullptr) {
            streams_.push_back({.disk = disk.disk, .generation = disk.generation});
        }
    }
}

bool StreamMemory::note(const DiskId& disk, Generation generation, Seq first, std::uint32_t count,
                        std::uint32_t table_crc) {
    const std::scoped_lock lock(mutex_);
    Stream* const stream = find(disk, generation);
    if (stream == nullptr) {
        return true;  // A newer session of the machine has begun with other disks.
    }
    if (!stream->frames.empty() && first <= stream->frames.back().first) {
        const auto known = std::ranges::find(stream->frames, first, &Frame::first);
        // Another framing of the same sequences proves nothing about their content.
        if (known == stream->frames.end() || known->count != count ||
            known->table_crc == table_crc) {
            return true;
        }
        stream->quarantine =
            "sequence " + std::to_string(raw(first)) + " came again with other content";
        return false;
    }
    stream->frames.push_back({first, count, table_crc});
    const std::size_t share = std::max<std::size_t>(4, frames_max / streams_.size());
    while (stream->frames.size() > share) {
        stream->frames.pop_front();
    }
    return true;
}

void StreamMemory::quarantine(const DiskId& disk, Generation generation, std::string why) {
    const std::scoped_lock lock(mutex_);
    Stream* stream = find(disk, generation);
    if (stream == nullptr) {
        stream = &streams_.emplace_back(Stream{.disk = disk, .generation = generation});
    }
    stream->quarantine = std::move(why);
}

std::optional<std::string> StreamMemory::quarantined(const DiskId& disk,
                                                     Generation generation) const {
    const std::scoped_lock lock(mutex_);
    for (const Stream& stream : streams_) {
        if (stream.disk == disk && stream.generation == generation) {
            return stream.quarantine;
        }
    }
    return std::nullopt;
}

StreamMemory::Stream* StreamMemory::find(const DiskId& disk, Generation generation) {
    const auto found = std::ranges::find_if(streams_, [&](const Stream& stream) {
        return stream.disk == disk && stream.generation == generation;
    });
    return found == streams_.end() ? nullptr : &*found;
}

}  // namespace cw::ingest
