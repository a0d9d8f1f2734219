#include "tests/sim/cache_damage.h"

#include "cache/spool_format.h"

#include <algorithm>
#include <map>
#include <vector>

namespace cw::sim {
namespace {

const std::string log_path = "/spool/spool.log";

std::map<std::uint64_t, cache::BatchHeader> read_batches(fakes::SimStorage& storage) {
    const std::uint64_t size = storage.size_of(log_path);
    std::map<std::uint64_t, cache::BatchHeader> batches;  // By number.
    for (const std::uint64_t at : storage.written_blocks(log_path)) {
        const auto head = storage.contents(log_path, at, std::min(block_bytes, size - at));
        const auto header_bytes = cache::peek_batch_header_bytes(head);
        if (!header_bytes || at + *header_bytes > size) {
            continue;
        }
        auto header = cache::decode_batch_header(storage.contents(log_path, at, *header_bytes));
        if (header && header->offset == at) {
            batches[header->number] = std::move(*header);
        }
    }
    return batches;
}

// The newest that hold `live` bytes and of which a later one says that they are durable.
std::vector<cache::BatchHeader> needed_batches(fakes::SimStorage& storage, std::uint64_t live) {
    const auto batches = read_batches(storage);
    std::uint64_t bytes = 0, mark = 0;
    for (const auto& [number, batch] : batches) {
        mark = std::max(mark, batch.durable_through);
    }
    std::vector<cache::BatchHeader> needed;
    for (auto it = batches.rbegin(); it != batches.rend() && bytes < live; ++it) {
        if (it->first <= mark) {
            needed.push_back(it->second);
        }
        bytes += it->second.total_bytes();
    }
    return needed;
}

// Headers and tables are hit as often as data.
std::uint64_t place_in(const cache::BatchHeader& hit, Random& random) {
    const std::uint64_t head = hit.header_bytes() + hit.tables_bytes();
    const std::uint64_t body = hit.total_bytes() - head;
    return hit.offset +
           (body == 0 || random.below(2) == 0 ? random.below(head) : head + random.below(body));
}

void lose(fakes::SimStorage& storage, const cache::BatchHeader& batch) {
    storage.overwrite(log_path, batch.offset, ByteVector(batch.total_bytes()));
}

// `from` was written where `to` lay.
void misdirect(fakes::SimStorage& storage, const cache::BatchHeader& from,
               const cache::BatchHeader& to) {
    const std::uint64_t bytes = std::min(from.total_bytes(), to.total_bytes());
    const ByteVector content = storage.contents(log_path, from.offset, bytes);
    lose(storage, from);
    storage.overwrite(log_path, to.offset, content);
}

}  // namespace

std::optional<CacheDamage> damage_cache(fakes::SimStorage& storage, std::uint64_t live,
                                        Random& random) {
    if (!storage.exists(log_path)) {
        return std::nullopt;
    }
    const auto needed = needed_batches(storage, live);
    if (needed.empty()) {
        return std::nullopt;
    }
    const cache::BatchHeader& hit = needed[random.below(needed.size())];
    const cache::BatchHeader& other = needed[random.below(needed.size())];
    const std::uint64_t place = place_in(hit, random);
    switch (random.below(6)) {
        case 0:
            if (hit.number != other.number) {
                misdirect(storage, hit, other);
                return CacheDamage{.name = "fault.misdirected_write", .lasting = true};
            }
            [[fallthrough]];
        case 1:
            lose(storage, hit);
            return CacheDamage{.name = "fault.lost_write", .lasting = true};
        case 2:
            storage.fail_reads(log_path, place, 1);
            return CacheDamage{.name = "fault.bad_sector", .lasting = true};
        case 3:
            storage.fail_reads(log_path, place, 1, 1);
            return CacheDamage{.name = "fault.weak_sector"};
        default:
            storage.flip_bit(log_path, place, static_cast<unsigned>(random.below(8)));
            return CacheDamage{.name = "fault.bit_rot", .lasting = true};
    }
}

}  // namespace cw::sim
