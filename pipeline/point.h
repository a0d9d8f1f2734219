// Recovery-point barriers as records: their payload lies in the record's table block.
//
// point:  magic "CWP1" u32 | kind u8 | flags u8 (bit 0: member of a group, provisional) |
//         disks u16 | id 16 | group 16 (nil if none) | source time i64 wall µs |
//         uncertainty u32 µs | tag length u16 + text (people's words: data, never a path) |
//         hook results u16 + text | per disk: id 16, generation u64, cut u64, stream hash 32
// point_result: magic "CWP2" u32 | outcome u8 (1 committed, 2 revoked) | zeros 3 | id 16 | group 16
#pragma once

#include "base/clock.h"
#include "base/crypto.h"
#include "base/ids.h"

#include <string>
#include <vector>

namespace cw::pipeline {

enum class PointKind : std::uint8_t { crash = 1, filesystem = 2, app = 3, planned = 4 };

inline constexpr std::size_t disks_per_machine_max = 256, point_tag_bytes_max = 256;

struct DiskCut {
    DiskId disk;
    Generation generation{};
    Seq cut{};             // The last sequence of this disk sent before the barrier.
    Sha256 stream_hash{};  // H_n = SHA-256(H_{n-1} || extent table) over the disk's stream.
};

struct Point {
    PointId id;
    PointKind kind = PointKind::crash;
    GroupId group;  // Nil: no group.
    bool provisional = false;
    WallMicros source_time{};
    std::uint32_t uncertainty_us = 0;
    std::string tag;
    std::string hook_results;
    std::vector<DiskCut> cuts;  // Every disk of the machine, sorted by disk id.
};

struct PointResult {
    PointId id;
    GroupId group;
    bool committed = false;
};

ByteVector encode_point(const Point& point);
// Errors: frame_malformed.
Result<Point> decode_point(Bytes payload);
ByteVector encode_point_result(const PointResult& result);
Result<PointResult> decode_point_result(Bytes payload);

std::string_view name_of(PointKind kind) noexcept;  // "crash", "filesystem", "app", "planned"

}  // namespace cw::pipeline
