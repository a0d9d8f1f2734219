#include "tests/sim/cache_damage.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

namespace cw::sim {
namespace {

const std::string log_path = "/spool/spool.log";

// Those that are on the platter for certain and can be read: no other vouches for anything after
// the next cut.
std::map<std::uint64_t, cache::BatchHeader> read_batches(fakes::SimStorage& storage) {
    const std::uint64_t size = storage.size_of(log_path);
    std::map<std::uint64_t, cache::BatchHeader> batches;  // By number.
    for (const std::uint64_t at : storage.written_blocks(log_path)) {
        const auto head = storage.durable_contents(log_path, at, std::min(block_bytes, size - at));
        const auto header_bytes = cache::peek_batch_header_bytes(head);
        if (!header_bytes || at + *header_bytes > size ||
            storage.unreadable_for_good(log_path, at, *header_bytes)) {
            continue;
        }
        auto header =
            cache::decode_batch_header(storage.durable_contents(log_path, at, *header_bytes));
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
    storage.lose_write(log_path, batch.offset, batch.total_bytes());
}

// `from` was written where `to` lay.
void misdirect(fakes::SimStorage& storage, const cache::BatchHeader& from,
               const cache::BatchHeader& to) {
    const std::uint64_t bytes = std::min(from.total_bytes(), to.total_bytes());
    const ByteVector content = storage.contents(log_path, from.offset, bytes);
    lose(storage, from);
    storage.overwrite(log_path, to.offset, content);
}

struct Checkpoints {
    cache::Superblock super;
    std::array<std::optional<cache::Checkpoint>, 2> copies;
};

// Nothing if one of the superblocks is not whole.
std::optional<Checkpoints> read_checkpoints(fakes::SimStorage& storage) {
    const auto first = cache::decode_superblock(storage.durable_contents(log_path, 0, block_bytes));
    if (!first) {
        return std::nullopt;
    }
    Checkpoints out{.super = *first, .copies = {}};
    const auto second = cache::decode_superblock(
        storage.durable_contents(log_path, first->copy_offset(1), block_bytes));
    if (!second || *second != *first) {
        return std::nullopt;
    }
    for (unsigned copy = 0; copy < 2; ++copy) {
        const std::uint64_t at = first->slot_offset(copy);
        const auto bytes =
            cache::peek_checkpoint_bytes(storage.durable_contents(log_path, at, block_bytes));
        if (bytes && *bytes <= first->slot_bytes() &&
            !storage.unreadable_for_good(log_path, at, *bytes)) {
            auto read = cache::decode_checkpoint(storage.durable_contents(log_path, at, *bytes));
            if (read) {
                out.copies[copy] = std::move(*read);
            }
        }
    }
    return out;
}

}  // namespace

std::optional<CacheDamage> damage_one_copy(fakes::SimStorage& storage, Random& random) {
    // What is not on the platter yet may be gone with the next power cut.
    if (!storage.exists(log_path) || storage.dirty_sectors(log_path) > 0 ||
        storage.unreadable_bytes(log_path) > 0) {
        return std::nullopt;
    }
    const auto found = read_checkpoints(storage);
    if (!found || !found->copies[0] || !found->copies[1]) {
        return std::nullopt;
    }
    const auto copy = static_cast<unsigned>(random.below(2));
    const bool super = random.below(3) == 0;
    const std::uint64_t from =
        super ? found->super.copy_offset(copy) : found->super.slot_offset(copy);
    // Half of the hits go to the head, where the fields are that are believed first.
    const std::uint64_t place = from + random.below(random.below(2) == 0 ? 48 : block_bytes);
    if (random.below(4) == 0) {
        storage.fail_reads(log_path, place, 1);
    } else {
        storage.flip_bit(log_path, place, static_cast<unsigned>(random.below(8)));
    }
    return CacheDamage{.name = super ? "fault.superblock_rot" : "fault.checkpoint_rot"};
}

LogEnd find_log_end(fakes::SimStorage& storage) {
    LogEnd out;
    if (!storage.exists(log_path)) {
        return out;
    }
    auto batches = read_batches(storage);
    for (const auto& [number, batch] : batches) {
        out.mark = std::max(out.mark, batch.durable_through);
    }
    if (const auto found = read_checkpoints(storage)) {
        for (const auto& copy : found->copies) {
            out.mark = std::max(out.mark, copy ? copy->durable_through : 0);
        }
    }
    for (auto it = batches.upper_bound(out.mark); it != batches.end(); ++it) {
        out.behind.push_back(std::move(it->second));
    }
    return out;
}

bool strayed_behind(const LogEnd& end, const std::vector<fakes::AstrayWrite>& astray) {
    const auto hit_behind = [&](const fakes::AstrayWrite& write) {
        for (std::size_t at = 0; at + block_bytes <= write.hit.size(); at += block_bytes) {
            const auto begun = cache::peek_batch_header(Bytes(write.hit).subspan(at, block_bytes));
            if (begun && begun->offset == write.landed + at && begun->number > end.mark) {
                return true;
            }
        }
        return std::ranges::any_of(end.behind, [&](const cache::BatchHeader& batch) {
            return batch.offset < write.landed + write.hit.size() &&
                   write.landed < batch.offset + batch.total_bytes();
        });
    };
    return std::ranges::any_of(astray, [&](const fakes::AstrayWrite& write) {
        const auto batch = cache::peek_batch_header(write.head);
        // Of a checkpoint it is not known what it would have vouched for.
        return !batch || batch->number > end.mark || hit_behind(write);
    });
}

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
