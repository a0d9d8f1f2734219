// A disk in a vault, and an old one on a device that loses power: what the tests of failback share.
#pragma once

#include "recovery/failback.h"
#include "recovery/vault_points.h"
#include "tests/recovery/world.h"
#include "tests/volume/cut_disk.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::recovery::test {

using volume::test::CutDisk;

inline constexpr std::uint64_t block = vault::fingerprint_block_bytes;
inline constexpr const char* target_path = "/old/disk.img";

class FakeProbe final : public volume::TargetProbe {
public:
    Result<std::string> identity(const std::string&) override { return name; }
    Result<void> check_unused(const std::string& path, const volume::TargetHold*) override {
        return used ? fail(Errc::target_unsafe, path + " is mounted") : Result<void>{};
    }
    Result<std::unique_ptr<volume::TargetHold>> hold(const std::string&) override {
        return nullptr;
    }
    Result<std::int64_t> written_ns(const std::string&) override { return written; }
    std::string name = "file 1 2";
    bool used = false;
    std::int64_t written = 7;
};

// A disk in a vault: base data, holes, small overwrites that leave blocks without a fingerprint.
class Site {
public:
    explicit Site(std::uint64_t disk_bytes) : world(17), disk(make_id<DiskId>(*world.random)) {
        truth.resize(disk_bytes);
        fakes::RigSegment base{.disk = disk, .first = Seq{1}, .last = Seq{1}, .extents = {}};
        for (std::uint64_t at = 0; at < disk_bytes; at += mib) {
            const std::uint64_t length = std::min(mib, disk_bytes - at);
            if (at / mib % 7 == 3) {
                continue;  // Never written.
            }
            ByteVector bytes = fakes::text_bytes(at, length);
            std::ranges::copy(bytes, truth.begin() + static_cast<std::ptrdiff_t>(at));
            base.extents.push_back({.offset = at,
                                    .bytes = std::move(bytes),
                                    .seq = Seq{1},
                                    .codec = vault::Codec::zstd,
                                    .hole_bytes = 0});
        }
        fakes::RigSegment small{.disk = disk, .first = Seq{2}, .last = Seq{4}, .extents = {}};
        for (std::uint64_t i = 2; i <= 4; ++i) {
            const std::uint64_t at = std::min(i * mib, disk_bytes - (5 - i) * 64 * kib) + 4096;
            ByteVector bytes = fakes::random_bytes(*world.random, 4096);
            std::ranges::copy(bytes, truth.begin() + static_cast<std::ptrdiff_t>(at));
            small.extents.push_back({.offset = at,
                                     .bytes = std::move(bytes),
                                     .seq = Seq{i},
                                     .codec = vault::Codec::none,
                                     .hole_bytes = 0});
        }
        vault::DiskEntry& entry = world.rig.disk(disk);
        entry.size_bytes = disk_bytes;
        entry.protected_ = true;
        entry.committed = Seq{4};
        const auto ref = world.rig.put(base);
        point = world.rig.publish_point({ref, world.rig.put(small)}, WallMicros{1'700'000'000});
    }
    // Writes these blocks, whole, and makes another point, which becomes the wanted one.
    void write_more(std::initializer_list<std::uint64_t> blocks) {
        fakes::RigSegment more{.disk = disk, .first = Seq{5}, .last = Seq{5}, .extents = {}};
        for (const std::uint64_t index : blocks) {
            ByteVector bytes = fakes::random_bytes(*world.random, block);
            std::ranges::copy(bytes, truth.begin() + static_cast<std::ptrdiff_t>(index * block));
            more.extents.push_back({.offset = index * block,
                                    .bytes = std::move(bytes),
                                    .seq = Seq{5},
                                    .codec = vault::Codec::none,
                                    .hole_bytes = 0});
        }
        world.rig.disk(disk).committed = Seq{5};
        point = world.rig.publish_point({world.rig.put(more)}, WallMicros{1'700'000'100});
    }
    // What an old disk may have become: `count` blocks differ.
    ByteVector old_disk(std::uint64_t count) {
        ByteVector out = truth;
        const std::uint64_t blocks = out.size() / block;
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t at = (i * blocks / count) * block + 512;
            world.random->fill(MutableBytes(out).subspan(at, 2048));
        }
        return out;
    }

    World world;
    DiskId disk;
    ByteVector truth;
    PointId point;
};

class FailbackTest : public testing::Test {
protected:
    void begin(Site& site, const ByteVector& old) {
        catalog_.emplace(site.world.catalog());
        site_ = &site;
        old_ = old;
        fresh(0);
    }
    // The old disk as it was, on a device that loses power at its n-th change.
    void fresh(std::uint64_t cut_at) {
        disk_.reset();
        storage_ = std::make_unique<fakes::SimStorage>(seed_++);
        const auto plain = storage_->make_disk();
        CW_ASSERT(plain->create_directories("/old").has_value());
        CW_ASSERT(write_file_atomically(*plain, target_path, old_).has_value());
        reopen(cut_at);
    }
    void reopen(std::uint64_t cut_at) { disk_ = std::make_unique<CutDisk>(*storage_, cut_at); }
    void prepare() {
        request_.point = to_string(site_->point);
        request_.disk = to_string(site_->disk);
        request_.target.path = target_path;
        request_.target.work_directory = "/beside";
    }
    Result<FailbackReport> run() {
        prepare();
        const VaultPoints source(*site_->world.store, *catalog_);
        return failback_disk(source, *catalog_, {*disk_, probe_}, request_, {});
    }
    Result<std::optional<volume::Phase>> phase() {
        const auto plain = storage_->make_disk();
        return failback_phase(*plain, "/beside");
    }
    bool target_is(const ByteVector& content) { return storage_->contents(target_path) == content; }

    Site* site_ = nullptr;
    std::optional<Catalog> catalog_;
    ByteVector old_;
    std::uint64_t seed_ = 1;
    std::unique_ptr<fakes::SimStorage> storage_;
    std::unique_ptr<CutDisk> disk_;
    FakeProbe probe_;
    FailbackRequest request_;
};

}  // namespace cw::recovery::test
