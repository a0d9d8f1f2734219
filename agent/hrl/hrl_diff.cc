#include "agent/hrl/hrl_diff.h"

#include "agent/hrl/hrl_file.h"
#include "agent/hrl/hrl_reader.h"
#include "agent/scan/block_image.h"
#include "base/full_disk.h"
#include "base/ids.h"

#include <algorithm>
#include <cstring>

namespace cw::agent {
namespace {

constexpr std::size_t diff_block_bytes = 64 * kib;

}  // namespace

Result<std::uint64_t> write_hrl_diff(const HrlDiffRequest& request, Disk& disk, Clock& clock,
                                     Random& random) {
    const auto at_output = [&request](auto result) {
        return name_full_file(std::move(result), request.output);
    };
    CW_TRY_ASSIGN(const auto from, open_image(request.from, ImageAccess::read_only));
    CW_TRY_ASSIGN(const auto to, open_image(request.to, ImageAccess::read_only));
    if (from->size() != to->size()) {
        return fail(Errc::size_mismatch, request.from + " and " + request.to);
    }
    HrlHeader header;
    header.id = make_uuid_bytes(random);
    if (request.after) {
        CW_TRY_ASSIGN(const HrlReader before, HrlReader::open(disk, *request.after, false));
        header.previous = before.header().id;
    }
    CW_TRY_ASSIGN(const bool taken, disk.exists(request.output));
    if (taken) {
        return fail(Errc::file_exists, request.output);
    }
    CW_TRY_ASSIGN(HrlFile log,
                  at_output(HrlFile::begin(disk, request.output + ".part", header, clock.wall())));
    ByteVector old(diff_block_bytes), fresh(diff_block_bytes);
    for (std::uint64_t at = 0; at < to->size(); at += diff_block_bytes) {
        const std::size_t length = std::min<std::uint64_t>(diff_block_bytes, to->size() - at);
        CW_TRY(from->read(at, MutableBytes(old).first(length)));
        CW_TRY(to->read(at, MutableBytes(fresh).first(length)));
        if (std::memcmp(fresh.data(), old.data(), length) != 0) {
            CW_TRY(at_output(log.write(at, Bytes(fresh).first(length), clock.wall())));
        }
    }
    CW_TRY(at_output(log.close(clock.wall())));
    CW_TRY(at_output(log.publish(request.output)));
    return log.entries();
}

}  // namespace cw::agent
