#include "agent/seed/seed_export.h"

#include "agent/scan/block_set.h"
#include "agent/session/own_identity.h"
#include "base/checksum.h"
#include "base/full_disk.h"
#include "base/log.h"

#include <algorithm>
#include <utility>

#include <poll.h>

namespace cw::agent {
namespace {

constexpr int look_ms = 10;
constexpr std::string_view clone_suffix = ".causeway-seed", partial_suffix = ".partial";

// The source, held still for as long as it is read if that is possible. Lets go when it is gone.
class SeedSource {
public:
    SeedSource(const SeedExport& request, cw::Disk& disk, Clock& clock)
        : freezer_(request.freeze, disk, clock), still_(request.still) {}
    ~SeedSource() { let_go(); }
    SeedSource(const SeedSource&) = delete;
    SeedSource& operator=(const SeedSource&) = delete;

    Result<void> open(const std::string& path, Clock& clock) {
        if (freezer_.owes_thaw()) {
            let_go();
        }
        if (freezer_.can_freeze()) {
            freezer_.begin_freeze();
            held_ = true;
            CW_TRY(settle());
            still_ = true;
        }
        time_ = clock.wall();
        CW_TRY_ASSIGN(image_, open_image(path, ImageAccess::read_only));
        if (image_->stamp()) {  // A file.
            if (auto clone = clone_image(path, path + std::string(clone_suffix))) {
                image_ = std::move(*clone);
                still_ = true;  // One file, one instant.
                let_go();
            }
        }
        return {};
    }
    // Now and then: a source is not kept still for longer than it was allowed.
    void tend() {
        if (held_ && freezer_.expired()) {
            log_warning("agent.seed.thawed", {{"reason", "the time limit of its freeze"}});
            still_ = false;
            let_go();
        }
    }
    // Reading is over.
    void finish() {
        const bool held = held_;
        let_go();
        still_ = still_ && !(held && freezer_.error());
    }
    [[nodiscard]] BlockImage& image() noexcept { return *image_; }
    [[nodiscard]] bool still() const noexcept { return still_; }
    [[nodiscard]] WallMicros time() const noexcept { return time_; }

private:
    Result<void> settle() {
        for (;;) {
            const auto state = freezer_.step();
            if (state == Freezer::State::frozen) {
                return {};
            }
            if (state == Freezer::State::idle) {
                held_ = false;  // It failed, and has been undone.
                return std::unexpected(
                    freezer_.error().value_or(Error{Errc::hook_failed, "freeze"}));
            }
            ::poll(nullptr, 0, look_ms);
        }
    }
    void let_go() {
        if (std::exchange(held_, false) || freezer_.owes_thaw()) {
            freezer_.begin_thaw();
            while (freezer_.step() != Freezer::State::idle) {
                ::poll(nullptr, 0, look_ms);
            }
        }
    }

    Freezer freezer_;
    std::unique_ptr<BlockImage> image_;
    WallMicros time_{};
    bool still_, held_ = false;
};

// What is not zero: the image is full of zeros already.
Result<void> write_part(BlockImage& out, std::uint64_t offset, Bytes part) {
    while (!part.empty()) {
        const std::size_t step = std::min<std::size_t>(map_block_bytes, part.size());
        std::size_t length = 0;
        while (length < part.size() &&
               !all_zero(part.subspan(length, std::min(step, part.size() - length)))) {
            length = std::min(length + step, part.size());
        }
        if (length > 0) {
            CW_TRY(out.write(offset, part.first(length)));
        }
        length = std::min(length + step, part.size());  // And the zeros behind it.
        part = part.subspan(length);
        offset += length;
    }
    return {};
}

Result<void> copy(SeedSource& source, BlockImage& out, SeedManifest& manifest,
                  const SeedProgress& progress) {
    const std::uint64_t size = manifest.size_bytes;
    ByteVector buffer;
    for (std::uint64_t part = 0; part < seed_part_count(size); ++part) {
        if (!progress(part * seed_part_bytes, size)) {
            return fail(Errc::cancelled, "the export");
        }
        source.tend();
        buffer.resize(seed_part_length(size, part));
        CW_TRY(source.image().read(part * seed_part_bytes, buffer));
        manifest.parts.push_back(sha256(buffer));
        CW_TRY(write_part(out, part * seed_part_bytes, buffer));
    }
    source.finish();
    (void)progress(size, size);
    return out.flush();
}

Result<void> make_room(const SeedExport& request, const std::string& manifest, cw::Disk& disk) {
    for (const std::string& path : {request.output.path, manifest}) {
        CW_TRY_ASSIGN(const bool there, disk.exists(path));
        if (there && !request.replace) {
            return fail(Errc::file_exists, path);
        }
    }
    // A manifest without its image is harmless, the other way round as well; a wrong pair is not.
    CW_TRY_ASSIGN(const bool there, disk.exists(manifest));
    return there ? disk.remove(manifest) : Result<void>{};
}

// Gives the whole image its name.
Result<std::uint64_t> publish(const std::string& partial, const std::string& path, cw::Disk& disk) {
    CW_TRY_ASSIGN(auto file, disk.open(partial, {.write = true}));
    CW_TRY(sync_file(disk, *file));
    const std::uint64_t bytes = file->size();
    file.reset();
    CW_TRY(disk.rename(partial, path));
    const std::size_t slash = path.rfind('/');
    CW_TRY(disk.sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1)));
    return bytes;
}

}  // namespace

Result<ByteVector> export_seed(const SeedExport& request, cw::Disk& disk, Clock& clock,
                               const SeedProgress& progress) {
    if (request.disk_name.empty() || request.disk_name.size() > seed_name_bytes_max ||
        request.machine_name.size() > seed_name_bytes_max) {
        return fail(Errc::usage, "a name is empty or longer than 256 bytes");
    }
    const std::string manifest_path = request.output.path + std::string(seed_manifest_suffix);
    CW_TRY(make_room(request, manifest_path, disk));
    SeedSource source(request, disk, clock);
    CW_TRY(source.open(request.source, clock));
    if (source.image().size() > seed_disk_bytes_max) {
        return fail(Errc::size_mismatch, request.source + " is larger than 64 TiB");
    }
    SeedManifest manifest;
    manifest.machine = request.machine;
    manifest.disk = disk_id_of(request.machine, request.disk_name);
    manifest.machine_name = request.machine_name;
    manifest.disk_name = request.disk_name;
    manifest.size_bytes = source.image().size();
    manifest.time = source.time();
    manifest.format = request.output.format;
    const SeedFile partial{request.output.path + std::string(partial_suffix),
                           request.output.format};
    auto out = create_seed_file(partial, manifest.size_bytes, disk, clock);
    const auto copied =
        out ? copy(source, **out, manifest, progress) : std::unexpected(out.error());
    out = std::unique_ptr<BlockImage>();
    if (!copied) {
        (void)disk.remove(partial.path);  // Whoever ran out of room needs it for the next attempt.
        return std::unexpected(name_full_file(copied.error(), request.output.path));
    }
    manifest.still = source.still();
    CW_TRY_ASSIGN(
        manifest.file_bytes,
        name_full_file(publish(partial.path, request.output.path, disk), request.output.path));
    ByteVector encoded = encode_seed_manifest(manifest);
    CW_TRY(write_file_atomically(disk, manifest_path, encoded));
    return encoded;
}

Result<void> check_seed(BlockImage& image, const SeedProgress& progress) {
    const std::uint64_t size = image.size();
    ByteVector buffer;
    for (std::uint64_t part = 0; part < seed_part_count(size); ++part) {
        if (!progress(part * seed_part_bytes, size)) {
            return fail(Errc::cancelled, "the check");
        }
        buffer.resize(seed_part_length(size, part));
        CW_TRY(image.read(part * seed_part_bytes, buffer));
    }
    (void)progress(size, size);
    return {};
}

}  // namespace cw::agent
