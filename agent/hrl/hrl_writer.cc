#include "agent/hrl/hrl_writer.h"

namespace cw::agent {

Result<HrlWriter> HrlWriter::create(Disk& disk, const std::string& path, const HrlHeader& header,
                                    std::uint32_t now_s) {
    CW_TRY_ASSIGN(auto file, disk.open(path, {.write = true, .create = true, .exclusive = true}));
    HrlWriter writer(disk, std::move(file));
    writer.header_ = header;
    writer.header_.created_s = now_s;
    writer.header_.end = 0;
    writer.header_.entry_count = 0;
    CW_TRY(writer.put(0, encode_hrl_header(writer.header_)));
    CW_TRY(writer.put(hrl_block_bytes, encode_hrl_block({})));
    return writer;
}

Result<void> HrlWriter::write(std::uint64_t offset, Bytes data, std::uint32_t now_s) {
    CW_ASSERT(!data.empty() && data.size() <= mib && data.size() % sector_bytes == 0 &&
              offset % sector_bytes == 0);
    CW_TRY(put(end_, data));
    end_ += data.size();
    block_.entries.push_back({offset, static_cast<std::uint32_t>(data.size()), now_s,
                              hrl_checksum_of_sum(hrl_sum(data))});
    ++header_.entry_count;
    return block_.entries.size() == hrl_entries_max ? put_block() : Result<void>{};
}

Result<void> HrlWriter::put_block() {
    block_.back = end_ - last_block_;
    CW_TRY(put(end_, encode_hrl_block(block_)));
    last_block_ = end_;
    end_ += hrl_block_bytes;
    block_ = {};
    return {};
}

Result<void> HrlWriter::close(std::uint32_t now_s) {
    if (!block_.entries.empty()) {
        CW_TRY(put_block());
    }
    CW_TRY(sync_file(*disk_, *file_));  // The header must not say more than there is.
    header_.end = header_.original_bytes = header_.current_bytes = end_;
    header_.modified_s = now_s;
    CW_TRY(put(0, encode_hrl_header(header_)));
    return sync_file(*disk_, *file_);
}

}  // namespace cw::agent
