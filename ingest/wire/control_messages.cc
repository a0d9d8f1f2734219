// What either side says about a connection or a disk: MODE, ERROR, GOODBYE, RESYNC_BEGIN, RESIZE,
// PING and PONG, POLICY.
//
// MODE: u8 mode | u64 backlog bytes | text reason          ERROR: u16 code | u32 retry after, s |
// text detail          GOODBYE: u8 planned failover | u16 disks | per disk: u16 slot | u64 final
// RESYNC_BEGIN: u8 kind | text reason          RESIZE: u64 bytes          PING, PONG: u64 token
// POLICY: u64 interval, ms | u64 app interval, ms
#include "ingest/wire/codec.h"
#include "ingest/wire/messages.h"

namespace cw::wire {
namespace {

bool size_is_valid(std::uint64_t size) noexcept {
    return size > 0 && size <= disk_bytes_max && size % sector_bytes == 0;
}

bool is_within_bounds(const Policy& policy) noexcept {
    return policy.interval_ms >= interval_ms_min && policy.interval_ms <= interval_ms_max &&
           policy.app_interval_ms <= app_interval_ms_max;
}

}  // namespace

ByteVector encode(const Mode& mode) {
    CW_ASSERT(mode.reason.size() <= reason_bytes_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u8(static_cast<std::uint8_t>(mode.mode));
    appender.u64(mode.backlog_bytes);
    appender.text16(mode.reason);
    return out;
}

template <>
Result<Mode> decode<Mode>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Mode mode;
    CW_TRY_ASSIGN(mode.mode, read_enum(reader, ReplicationMode::bitmap));
    CW_TRY_ASSIGN(mode.backlog_bytes, reader.u64());
    CW_TRY_ASSIGN(mode.reason, reader.text16(reason_bytes_max));
    CW_TRY(expect_end(reader));
    return mode;
}

ByteVector encode(const ErrorMessage& message) {
    CW_ASSERT(message.retry_after_s <= retry_after_s_max);
    CW_ASSERT(message.detail.size() <= reason_bytes_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u16(message.code);
    appender.u32(message.retry_after_s);
    appender.text16(message.detail);
    return out;
}

template <>
Result<ErrorMessage> decode<ErrorMessage>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    ErrorMessage message;
    CW_TRY_ASSIGN(message.code, reader.u16());
    CW_TRY_ASSIGN(message.retry_after_s,
                  read_bounded<std::uint32_t>(reader, 0, retry_after_s_max, "retry after"));
    CW_TRY_ASSIGN(message.detail, reader.text16(reason_bytes_max));
    CW_TRY(expect_end(reader));
    return message;
}

ByteVector encode(const Goodbye& goodbye) {
    CW_ASSERT(goodbye.disks.size() <= disks_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u8(goodbye.planned_failover ? 1 : 0);
    appender.u16(static_cast<std::uint16_t>(goodbye.disks.size()));
    for (const Goodbye::Disk& disk : goodbye.disks) {
        CW_ASSERT(disk.slot < disks_max);
        appender.u16(disk.slot);
        appender.u64(raw(disk.final_seq));
    }
    return out;
}

template <>
Result<Goodbye> decode<Goodbye>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Goodbye goodbye;
    CW_TRY_ASSIGN(goodbye.planned_failover, read_bool(reader));
    CW_TRY_ASSIGN(const std::uint16_t count,
                  read_bounded<std::uint16_t>(reader, 0, disks_max, "disk count"));
    for (std::uint16_t i = 0; i < count; ++i) {
        Goodbye::Disk disk;
        CW_TRY_ASSIGN(disk.slot, read_bounded<std::uint16_t>(reader, 0, disks_max - 1, "slot"));
        CW_TRY_ASSIGN(disk.final_seq, read_number<Seq>(reader));
        goodbye.disks.push_back(disk);
    }
    CW_TRY(expect_end(reader));
    return goodbye;
}

ByteVector encode(const ResyncBegin& begin) {
    CW_ASSERT(begin.reason.size() <= reason_bytes_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u8(static_cast<std::uint8_t>(begin.kind));
    appender.text16(begin.reason);
    return out;
}

template <>
Result<ResyncBegin> decode<ResyncBegin>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    ResyncBegin begin;
    CW_TRY_ASSIGN(begin.kind, read_enum(reader, ResyncKind::resume));
    CW_TRY_ASSIGN(begin.reason, reader.text16(reason_bytes_max));
    CW_TRY(expect_end(reader));
    return begin;
}

ByteVector encode(const Resize& resize) {
    CW_ASSERT(size_is_valid(resize.size_bytes));
    ByteVector out;
    ByteAppender(out).u64(resize.size_bytes);
    return out;
}

template <>
Result<Resize> decode<Resize>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Resize resize;
    CW_TRY_ASSIGN(resize.size_bytes, reader.u64());
    if (!size_is_valid(resize.size_bytes)) {
        return malformed("disk size " + std::to_string(resize.size_bytes));
    }
    CW_TRY(expect_end(reader));
    return resize;
}

ByteVector encode(const Ping& ping) {
    ByteVector out;
    ByteAppender(out).u64(ping.token);
    return out;
}

template <>
Result<Ping> decode<Ping>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Ping ping;
    CW_TRY_ASSIGN(ping.token, reader.u64());
    CW_TRY(expect_end(reader));
    return ping;
}

ByteVector encode(const Policy& policy) {
    CW_ASSERT(is_within_bounds(policy));
    ByteVector out;
    ByteAppender appender(out);
    appender.u64(policy.interval_ms);
    appender.u64(policy.app_interval_ms);
    return out;
}

template <>
Result<Policy> decode<Policy>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Policy policy;
    CW_TRY_ASSIGN(policy.interval_ms, reader.u64());
    CW_TRY_ASSIGN(policy.app_interval_ms, reader.u64());
    if (!is_within_bounds(policy)) {
        return malformed("intervals of " + std::to_string(policy.interval_ms) + " and " +
                         std::to_string(policy.app_interval_ms) + " ms");
    }
    CW_TRY(expect_end(reader));
    return policy;
}

}  // namespace cw::wire
