#include "agent/nbd/nbd_protocol.h"

#include "base/ids.h"

#include <bit>
#include <cerrno>

namespace cw::agent {
namespace {

constexpr std::uint64_t greeting_magic = 0x4e42444d41474943;  // "NBDMAGIC"
constexpr std::uint64_t option_magic = 0x49484156454f5054;    // "IHAVEOPT"
constexpr std::uint64_t option_reply_magic = 0x0003e889045565a9;
constexpr std::uint32_t request_magic = 0x25609513, reply_magic = 0x67446698;

constexpr std::uint16_t handshake_flags = 1 | 2;  // FIXED_NEWSTYLE, NO_ZEROES
// HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN: a flush covers
// what any connection has written, because all write through one image.
constexpr std::uint16_t transmission_flags = 1 | 4 | 8 | 32 | 64 | 256;

enum Option : std::uint32_t {
    opt_export_name = 1,
    opt_abort = 2,
    opt_list = 3,
    opt_info = 6,
    opt_go = 7,
};
enum Reply : std::uint32_t {
    rep_ack = 1,
    rep_server = 2,
    rep_info = 3,
    rep_err_unsup = 0x80000001,
    rep_err_invalid = 0x80000003,
    rep_err_unknown = 0x80000006,
};
constexpr std::uint16_t info_export = 0, info_block_size = 3;

template <std::unsigned_integral T>
T big(T value) noexcept {
    if constexpr (sizeof(T) == 8) {
        return __builtin_bswap64(value);
    } else if constexpr (sizeof(T) == 4) {
        return __builtin_bswap32(value);
    } else {
        return __builtin_bswap16(value);
    }
}

template <std::unsigned_integral T>
Result<T> read_big(ByteReader& in) {
    CW_TRY_ASSIGN(const T value, in.read<T>());
    return big(value);
}

template <std::unsigned_integral T>
void put_big(ByteVector& out, T value) {
    ByteAppender(out).write(big(value));
}

void reply(ByteVector& out, std::uint32_t option, std::uint32_t type, Bytes payload = {}) {
    put_big(out, option_reply_magic);
    put_big(out, option);
    put_big(out, type);
    put_big(out, static_cast<std::uint32_t>(payload.size()));
    ByteAppender(out).bytes(payload);
}

}  // namespace

Result<NbdRequest> parse_nbd_request(Bytes header) {
    ByteReader in(header, Errc::frame_malformed);
    CW_TRY_ASSIGN(const auto magic, read_big<std::uint32_t>(in));
    if (magic != request_magic) {
        return fail(Errc::frame_malformed, "NBD request magic");
    }
    NbdRequest request;
    CW_TRY_ASSIGN(request.flags, read_big<std::uint16_t>(in));
    CW_TRY_ASSIGN(const auto command, read_big<std::uint16_t>(in));
    request.command = static_cast<NbdCommand>(command);
    CW_TRY_ASSIGN(request.cookie, in.u64());
    CW_TRY_ASSIGN(request.offset, read_big<std::uint64_t>(in));
    CW_TRY_ASSIGN(request.length, read_big<std::uint32_t>(in));
    return request;
}

std::uint32_t check_nbd_request(const NbdRequest& request, std::uint64_t size_bytes) noexcept {
    std::uint16_t allowed = nbd_flag_fua;
    std::uint64_t length_max = size_bytes;
    bool writes = true;
    switch (request.command) {
        case NbdCommand::flush:
            return request.flags == 0 && request.offset == 0 && request.length == 0 ? 0U : EINVAL;
        case NbdCommand::read:
            writes = false;
            length_max = nbd_payload_bytes_max;
            break;
        case NbdCommand::write:
            length_max = nbd_payload_bytes_max;
            break;
        case NbdCommand::write_zeroes:
            allowed |= nbd_flag_no_hole;
            break;
        case NbdCommand::trim:
            break;
        default:
            return EINVAL;
    }
    if ((request.flags & ~allowed) != 0 || request.length == 0 || request.length > length_max ||
        request.offset % sector_bytes != 0 || request.length % sector_bytes != 0) {
        return EINVAL;
    }
    if (request.offset > size_bytes || request.length > size_bytes - request.offset) {
        return writes ? ENOSPC : EINVAL;
    }
    return 0;
}

std::array<std::byte, 16> nbd_reply(std::uint64_t cookie, std::uint32_t error) noexcept {
    std::array<std::byte, 16> out;
    ByteWriter writer(out);
    writer.u32(big(reply_magic));
    writer.u32(big(error));
    writer.u64(cookie);  // Opaque: returned as it came.
    return out;
}

ByteVector NbdNegotiation::greeting() {
    ByteVector out;
    put_big(out, greeting_magic);
    put_big(out, option_magic);
    put_big(out, handshake_flags);
    return out;
}

Result<std::size_t> NbdNegotiation::feed(Bytes in, ByteVector& out) {
    std::size_t used = 0;
    while (!chosen_) {
        ByteReader reader(in.subspan(used), Errc::frame_malformed);
        if (!flags_seen_) {
            if (reader.remaining() < 4) {
                return used;
            }
            CW_TRY_ASSIGN(const auto flags, read_big<std::uint32_t>(reader));
            CW_TRY(take_flags(flags));
            used += 4;
            continue;
        }
        if (reader.remaining() < 16) {
            return used;
        }
        CW_TRY_ASSIGN(const auto magic, read_big<std::uint64_t>(reader));
        CW_TRY_ASSIGN(const auto option, read_big<std::uint32_t>(reader));
        CW_TRY_ASSIGN(const auto length, read_big<std::uint32_t>(reader));
        if (magic != option_magic || length > option_bytes_max || ++options_ > options_max) {
            return fail(Errc::frame_malformed, "NBD option header");
        }
        if (reader.remaining() < length) {
            --options_;  // Counted when it is whole.
            return used;
        }
        CW_TRY_ASSIGN(const Bytes data, reader.take(length));
        CW_TRY(take_option(option, data, out));
        used += 16 + length;
    }
    return used;
}

Result<void> NbdNegotiation::take_flags(std::uint32_t flags) {
    if ((flags & ~std::uint32_t{handshake_flags}) != 0 || (flags & 1) == 0) {
        return fail(Errc::frame_malformed, "NBD client flags");
    }
    flags_seen_ = true;
    no_zeroes_ = (flags & 2) != 0;
    return {};
}

Result<void> NbdNegotiation::take_option(std::uint32_t option, Bytes data, ByteVector& out) {
    switch (option) {
        case opt_export_name:
            return export_name(data, out);
        case opt_abort:
            reply(out, option, rep_ack);
            return fail(Errc::cancelled, "NBD client aborted");
        case opt_list:
            list(data, out);
            return {};
        case opt_info:
        case opt_go:
            return info(option, data, out);
        default:
            reply(out, option, rep_err_unsup);
            return {};
    }
}

Result<void> NbdNegotiation::export_name(Bytes data, ByteVector& out) {
    const auto index = find(as_text(data));
    if (!index) {
        return fail(Errc::not_found, "NBD export");  // This option has no way to say no.
    }
    put_big(out, exports_[*index].size_bytes);
    put_big(out, transmission_flags);
    if (!no_zeroes_) {
        ByteAppender(out).zeros(124);
    }
    chosen_ = index;
    return {};
}

Result<void> NbdNegotiation::info(std::uint32_t option, Bytes data, ByteVector& out) {
    ByteReader in(data, Errc::frame_malformed);
    const auto parse = [&]() -> Result<std::string_view> {
        CW_TRY_ASSIGN(const auto name_length, read_big<std::uint32_t>(in));
        CW_TRY_ASSIGN(const Bytes name, in.take(name_length));
        CW_TRY_ASSIGN(const auto count, read_big<std::uint16_t>(in));
        CW_TRY_ASSIGN(const Bytes wanted, in.take(std::size_t{count} * 2));
        (void)wanted;  // We tell what we have, whatever is asked for.
        if (!in.at_end()) {
            return fail(Errc::frame_malformed, "NBD info request");
        }
        return as_text(name);
    };
    const auto name = parse();
    if (!name) {
        reply(out, option, rep_err_invalid);
        return {};
    }
    const auto index = find(*name);
    if (!index) {
        reply(out, option, rep_err_unknown);
        return {};
    }
    ByteVector about;
    put_big(about, info_export);
    put_big(about, exports_[*index].size_bytes);
    put_big(about, transmission_flags);
    reply(out, option, rep_info, about);
    ByteVector sizes;
    put_big(sizes, info_block_size);
    put_big(sizes, static_cast<std::uint32_t>(sector_bytes));
    put_big(sizes, static_cast<std::uint32_t>(block_bytes));
    put_big(sizes, nbd_payload_bytes_max);
    reply(out, option, rep_info, sizes);
    reply(out, option, rep_ack);
    if (option == opt_go) {
        chosen_ = index;
    }
    return {};
}

void NbdNegotiation::list(Bytes data, ByteVector& out) {
    if (!data.empty()) {
        reply(out, opt_list, rep_err_invalid);
        return;
    }
    for (const NbdExport& each : exports_) {
        ByteVector item;
        put_big(item, static_cast<std::uint32_t>(each.name.size()));
        ByteAppender(item).bytes(as_bytes(each.name));
        reply(out, opt_list, rep_server, item);
    }
    reply(out, opt_list, rep_ack);
}

// The empty name is the first export: what clients ask for by default.
std::optional<std::size_t> NbdNegotiation::find(std::string_view name) const noexcept {
    for (std::size_t i = 0; i < exports_.size(); ++i) {
        if (exports_[i].name == name || (name.empty() && i == 0)) {
            return i;
        }
    }
    return std::nullopt;
}

}  // namespace cw::agent
