#include "cache/spool_files.h"

#include "base/crash_point.h"
#include "base/log.h"
#include "cache/aligned_buffer.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace cw::cache {
namespace {

constexpr std::uint64_t prewrite_bytes = 8 * mib;
constexpr std::uint32_t regions_min = 8;

std::string unfinished_path(const std::string& directory) {
    return log_path(directory) + ".new";
}

Result<void> check_geometry(const SpoolOptions& options) {
    const std::uint64_t region = options.region_bytes;
    const bool fits = region >= 32 * block_bytes && region % block_bytes == 0 &&
                      options.size_bytes % region == 0 &&
                      options.size_bytes / region >= regions_min &&
                      options.size_bytes / region <= std::numeric_limits<std::uint32_t>::max();
    if (!fits) {
        return fail(Errc::usage, "cache size must be a multiple of " +
                                     std::to_string(region / mib) + " MiB and at least " +
                                     std::to_string(regions_min) + " times that");
    }
    return {};
}

Result<void> prewrite(const SpoolOptions& options, Disk& disk, File& file) {
    AlignedBuffer zeros(std::min(prewrite_bytes, options.size_bytes));
    for (std::uint64_t at = 0; at < options.size_bytes;) {
        const std::uint64_t step = std::min<std::uint64_t>(zeros.size(), options.size_bytes - at);
        CW_TRY(write_at(disk, file, at, zeros.bytes().first(step), false));
        at += step;
        if (options.on_prewrite != nullptr) {
            options.on_prewrite(at, options.size_bytes);
        }
    }
    return {};
}

Result<void> write_superblock(Disk& disk, File& file, const Superblock& super, unsigned copy) {
    AlignedBuffer block(block_bytes);
    encode_superblock(super, block.bytes());
    return write_at(disk, file, super.copy_offset(copy), block.bytes(), true);
}

Result<void> write_first_checkpoints(Disk& disk, File& file, const Superblock& super) {
    Checkpoint first{.spool = super.id,
                     .generation = 0,
                     .durable_through = 0,
                     .next_batch = 1,
                     .epoch = 0,
                     .next_lsn = Lsn{1},
                     .released_below = {},
                     .regions = std::vector<RegionEntry>(super.region_count()),
                     .streams = {}};
    for (unsigned copy = 0; copy < 2; ++copy) {
        first.generation = copy;
        const ByteVector bytes = encode_checkpoint(first, super.slot_bytes());
        if (bytes.empty()) {
            return fail(Errc::usage, "regions are too small for so many of them");
        }
        AlignedBuffer buffer(bytes.size());
        std::copy(bytes.begin(), bytes.end(), buffer.data());
        CW_TRY(write_at(disk, file, super.slot_offset(copy), buffer.bytes(), true));
    }
    return {};
}

// The file without the name that makes it the cache.
Result<void> write_unfinished(const SpoolOptions& options, Disk& disk, const Superblock& super) {
    CW_TRY_ASSIGN(const auto file,
                  disk.open(unfinished_path(options.path),
                            {.write = true, .create = true, .exclusive = true, .direct = true}));
    CW_TRY(disk.resize(*file, options.size_bytes, true));
    if (options.prewrite) {
        CW_TRY(prewrite(options, disk, *file));
    }
    for (unsigned copy = 0; copy < 2; ++copy) {
        CW_TRY(write_superblock(disk, *file, super, copy));
    }
    CW_TRY(write_first_checkpoints(disk, *file, super));
    return sync_file(disk, *file);
}

Result<void> remove_unfinished(const SpoolOptions& options, Disk& disk) {
    const std::string unfinished = unfinished_path(options.path);
    CW_TRY_ASSIGN(const bool left_over, disk.exists(unfinished));
    return left_over ? disk.remove(unfinished) : Result<void>();
}

// Asked first: whoever allocates what is not there fills the file system for others before it
// fails.
Result<void> check_room(const SpoolOptions& options, Disk& disk) {
    CW_TRY_ASSIGN(const std::uint64_t free, disk.free_bytes(options.path));
    if (free < options.size_bytes) {
        return fail(Errc::config_invalid, "cache.size: " + options.path + " has room for " +
                                              std::to_string(free / mib) + " MiB, not for " +
                                              std::to_string(options.size_bytes / mib) + " MiB");
    }
    return {};
}

Result<void> create_files(const SpoolOptions& options, Disk& disk, const Superblock& super) {
    CW_TRY(remove_unfinished(options, disk));
    CW_TRY(check_room(options, disk));
    if (auto written = write_unfinished(options, disk, super); !written) {
        // Half a cache is of no use to anybody, and what has no room must not keep what there is.
        if (const auto removed = remove_unfinished(options, disk); !removed) {
            log_warning("cache.create.left_over", {{"error", removed.error()}});
        }
        if (written.error().code == Errc::disk_full) {
            return fail(Errc::config_invalid, "cache.size: " + options.path + " has no room for " +
                                                  std::to_string(options.size_bytes) + " bytes");
        }
        return written;
    }
    // Where spool.id is, the file is: without it the cache would be missing for ever.
    CW_TRY(disk.sync_directory(options.path));
    CW_CRASH_POINT("cache.create.before_id");
    ByteVector id(block_bytes);
    encode_superblock(super, id);
    CW_TRY(write_file_atomically(disk, id_path(options.path), id));
    CW_CRASH_POINT("cache.create.after_id");
    CW_TRY(disk.rename(unfinished_path(options.path), log_path(options.path)));
    return disk.sync_directory(options.path);
}

Result<Superblock> read_copy(Disk& disk, File& file, std::uint64_t offset) {
    AlignedBuffer block(block_bytes);
    CW_TRY_ASSIGN(const std::size_t got, read_at(disk, file, offset, block.bytes()));
    if (got != block_bytes) {
        return fail(Errc::spool_tampered, "the cache file is too short");
    }
    return decode_superblock(block.bytes());
}

// Both copies must say what spool.id says; one may be damaged. Which are.
Result<std::array<bool, 2>> check_superblocks(Disk& disk, File& file, const Superblock& expected) {
    std::array<bool, 2> damaged{};
    std::optional<Error> refused;  // By the device: it may be read the next time.
    for (unsigned copy = 0; copy < 2; ++copy) {
        const auto read = read_copy(disk, file, expected.copy_offset(copy));
        if (read && *read != expected) {
            return fail(Errc::spool_tampered, "spool.id belongs to another cache file");
        }
        if (!read && read.error().code == Errc::format_unsupported) {
            return std::unexpected(read.error());
        }
        if (!read && read.error().code == Errc::io_error) {
            refused = read.error();
        }
        damaged[copy] = !read.has_value();
    }
    if (damaged[0] && damaged[1]) {
        return std::unexpected(
            refused.value_or(Error{Errc::spool_tampered, "both superblocks are damaged"}));
    }
    return damaged;
}

Result<void> check_identity(const SpoolOptions& options, const Superblock& super) {
    if (!options.expected_id.is_nil() && options.expected_id != super.id) {
        return fail(Errc::spool_tampered, "this is cache " + to_string(super.id) + ", expected " +
                                              to_string(options.expected_id));
    }
    if (super.size_bytes != options.size_bytes || super.region_bytes != options.region_bytes) {
        return fail(Errc::config_invalid,
                    "cache.size is " + std::to_string(options.size_bytes) +
                        " bytes, but the cache in " + options.path + " was made with " +
                        std::to_string(super.size_bytes) +
                        ": set it back, or let it upload what it holds and begin an empty one");
    }
    return {};
}

// What is in the directory, and whether that makes sense.
struct Presence {
    bool id = false, log = false, unfinished = false;
};

Result<Presence> look(const SpoolOptions& options, Disk& disk) {
    Presence out;
    CW_TRY_ASSIGN(out.id, disk.exists(id_path(options.path)));
    CW_TRY_ASSIGN(out.log, disk.exists(log_path(options.path)));
    CW_TRY_ASSIGN(out.unfinished, disk.exists(unfinished_path(options.path)));
    if (out.log && !out.id) {
        return fail(Errc::spool_tampered, "spool.id is missing in " + options.path);
    }
    if (out.id && !out.log && !out.unfinished) {
        return fail(Errc::spool_tampered, "spool.log is missing in " + options.path);
    }
    return out;
}

}  // namespace

std::string log_path(const std::string& directory) {
    return directory + "/spool.log";
}
std::string id_path(const std::string& directory) {
    return directory + "/spool.id";
}

Result<SpoolFiles> open_spool_files(const SpoolOptions& options, Disk& disk, Random& random) {
    CW_TRY(check_geometry(options));
    SpoolFiles out;
    CW_TRY_ASSIGN(const bool mounted, disk.exists(options.path));
    const bool first_start = options.may_create && options.expected_id.is_nil();
    if (!mounted && first_start) {
        CW_TRY(disk.create_directories(options.path));
    }
    CW_TRY_ASSIGN(const Presence present, look(options, disk));
    if (!present.id) {
        if (!first_start) {
            return fail(Errc::spool_tampered, "no cache in " + options.path + ": is it mounted?");
        }
        out.superblock = {.id = make_id<SpoolId>(random),
                          .size_bytes = options.size_bytes,
                          .region_bytes = options.region_bytes};
        CW_TRY(create_files(options, disk, out.superblock));
        out.created = true;
    } else {
        CW_TRY_ASSIGN(const ByteVector id, read_file(disk, id_path(options.path), block_bytes));
        CW_TRY_ASSIGN(out.superblock, decode_superblock(id));
        CW_TRY(check_identity(options, out.superblock));
        if (!present.log) {  // Creation was cut short before its last step.
            // spool.id first: the log alone would be taken for a cache that lost its identity.
            CW_TRY(disk.sync_directory(options.path));
            CW_TRY(disk.rename(unfinished_path(options.path), log_path(options.path)));
        }
        // Whoever made the names may have ended before they were safe.
        CW_TRY(disk.sync_directory(options.path));
    }
    CW_TRY_ASSIGN(out.log, disk.open(log_path(options.path), {.write = true, .direct = true}));
    if (out.log->size() != out.superblock.size_bytes) {
        return fail(Errc::spool_tampered,
                    "the cache file has " + std::to_string(out.log->size()) + " bytes");
    }
    CW_TRY_ASSIGN(out.superblock_damaged, check_superblocks(disk, *out.log, out.superblock));
    return out;
}

Result<void> repair_superblocks(Disk& disk, File& log, const Superblock& superblock,
                                const std::array<bool, 2>& damaged) {
    for (unsigned copy = 0; copy < 2; ++copy) {
        if (damaged[copy]) {
            CW_TRY(write_superblock(disk, log, superblock, copy));
        }
    }
    return {};
}

}  // namespace cw::cache
