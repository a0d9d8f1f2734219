// StreamMemory: what the last frames of one machine's disks were, beyond the life of a session.
//
// A sequence may come again after a reconnect, but with the same content: other content under it
// means a faulty agent, two agents, or an attacker, and whichever of the two were kept, a point
// could be wrong. The disk's stream is then quarantined: refused until it begins a new generation.
// Contents are compared by the extent table's CRC, which covers the CRC of every extent.
//
// Thread-safety: all functions, by one mutex; called once per frame. Memory: bounded, see the
// constants; the newest frames of each disk are kept.
#pragma once

#include "base/ids.h"
#include "pipeline/messages.h"

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace cw::ingest {

class StreamMemory {
public:
    static constexpr std::size_t frames_max = 1024;  // Of all disks of a machine together.

    // A session begins with these disks and generations: what belongs to others is forgotten.
    void begin(const std::vector<pipeline::DiskWelcome>& disks);
    // A WRITE of `count` sequences from `first`. False: the same frame came before with other
    // content; the stream is quarantined from now on.
    bool note(const DiskId& disk, Generation generation, Seq first, std::uint32_t count,
              std::uint32_t table_crc);
    // Refuse this stream from now on.
    void quarantine(const DiskId& disk, Generation generation, std::string why);
    // Why this stream is quarantined; none: it is not.
    [[nodiscard]] std::optional<std::string> quarantined(const DiskId& disk,
                                                         Generation generation) const;

private:
    struct Frame {
        Seq first{};
        std::uint32_t count = 0, table_crc = 0;
    };
    struct Stream {
        DiskId disk;
        Generation generation{};
        std::deque<Frame> frames{};  // By sequence, newest last.
        std::optional<std::string> quarantine{};
    };
    Stream* find(const DiskId& disk, Generation generation);

    mutable std::mutex mutex_;
    std::vector<Stream> streams_;
};

}  // namespace cw::ingest
