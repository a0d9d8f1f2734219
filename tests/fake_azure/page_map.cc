#include "tests/fake_azure/page_map.h"

#include <algorithm>

namespace cw::fake_azure {

void PageMap::write(std::uint64_t offset, Bytes bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += page_bytes) {
        auto& chunk = chunks_[(offset + at) / chunk_bytes];
        if (!chunk) {
            chunk = std::make_shared<Chunk>();
        }
        const std::size_t inside = (offset + at) % chunk_bytes;
        std::memcpy(&chunk->bytes[inside], &bytes[at], page_bytes);
        chunk->written.set(inside / page_bytes);
    }
}

void PageMap::clear(std::uint64_t offset, std::uint64_t length) {
    const auto begin = chunks_.lower_bound(offset / chunk_bytes);
    for (auto at = begin; at != chunks_.end() && at->first * chunk_bytes < offset + length; ++at) {
        for (std::size_t page = 0; page < chunk_bytes / page_bytes; ++page) {
            const std::uint64_t position = at->first * chunk_bytes + page * page_bytes;
            if (position >= offset && position < offset + length) {
                std::memset(&at->second->bytes[page * page_bytes], 0, page_bytes);
                at->second->written.reset(page);
            }
        }
    }
}

void PageMap::read(std::uint64_t offset, MutableBytes out) const {
    std::size_t done = 0;
    while (done < out.size()) {
        const std::uint64_t at = offset + done;
        const std::size_t inside = at % chunk_bytes;
        const std::size_t n = std::min<std::size_t>(chunk_bytes - inside, out.size() - done);
        const auto found = chunks_.find(at / chunk_bytes);
        if (found == chunks_.end()) {
            std::memset(&out[done], 0, n);
        } else {
            std::memcpy(&out[done], &found->second->bytes[inside], n);
        }
        done += n;
    }
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> PageMap::ranges(std::uint64_t offset,
                                                                     std::uint64_t end) const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> out;
    for (auto at = chunks_.lower_bound(offset / chunk_bytes); at != chunks_.end(); ++at) {
        for (std::size_t page = 0; page < chunk_bytes / page_bytes; ++page) {
            const std::uint64_t position = at->first * chunk_bytes + page * page_bytes;
            if (!at->second->written.test(page) || position < offset || position >= end) {
                continue;
            }
            if (!out.empty() && out.back().first + out.back().second == position) {
                out.back().second += page_bytes;
            } else {
                out.emplace_back(position, page_bytes);
            }
        }
    }
    return out;
}

}  // namespace cw::fake_azure
