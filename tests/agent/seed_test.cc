// A disk's first copy by medium: the manifest, what is refused of a medium, export, and the fence
// that an import leaves open.
#include "agent/seed/seed_export.h"
#include "agent/seed/seed_image.h"
#include "agent/session/own_identity.h"
#include "tests/agent/harness.h"

#include <fstream>

#include <unistd.h>

namespace cw::agent::test {
namespace {

namespace fs = std::filesystem;

MachineId machine_id() {
    MachineId id;
    id.bytes.fill(std::byte{7});
    return id;
}

SeedManifest some_manifest(std::uint64_t size_bytes) {
    SeedManifest manifest;
    manifest.machine = machine_id();
    manifest.disk = disk_id_of(manifest.machine, "disk");
    manifest.size_bytes = size_bytes;
    manifest.file_bytes = 12345;
    manifest.time = WallMicros{1'700'000'000'000'000};
    manifest.still = true;
    manifest.format = SeedFormat::vhdx;
    manifest.machine_name = "web1";
    manifest.disk_name = "disk";
    for (std::uint64_t part = 0; part < seed_part_count(size_bytes); ++part) {
        manifest.parts.push_back(sha256(as_bytes(std::to_string(part))));
    }
    return manifest;
}

// As a writer of another mind would have sealed it.
void seal(ByteVector& bytes) {
    const Sha256 hash = sha256(Bytes(bytes).first(bytes.size() - 32));
    std::ranges::copy(hash, bytes.end() - 32);
}

TEST(SeedManifest, IsReadAsItWasWritten) {
    const SeedManifest manifest = some_manifest(5 * seed_part_bytes + 512);
    const ByteVector bytes = encode_seed_manifest(manifest);
    const auto read = decode_seed_manifest(bytes);
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(*read, manifest);
    EXPECT_EQ(read->parts.size(), 6U);
}

TEST(SeedManifest, IsRefusedWhenItIsCutOrAnyByteOfItChanged) {
    const ByteVector bytes = encode_seed_manifest(some_manifest(seed_part_bytes));
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        const auto cut = decode_seed_manifest(Bytes(bytes).first(length));
        ASSERT_FALSE(cut.has_value()) << length;
        EXPECT_EQ(cut.error().code, Errc::record_corrupt) << length;
    }
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        ByteVector flipped = bytes;
        flipped[at] ^= std::byte{0x10};
        EXPECT_FALSE(decode_seed_manifest(flipped).has_value()) << at;
    }
    ByteVector longer = bytes;
    longer.push_back({});
    EXPECT_FALSE(decode_seed_manifest(longer).has_value());
}

TEST(SeedManifest, OfANewerVersionIsSaidToBeThat) {
    ByteVector bytes = encode_seed_manifest(some_manifest(seed_part_bytes));
    bytes[8] = std::byte{2};
    seal(bytes);
    const auto read = decode_seed_manifest(bytes);
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().code, Errc::format_unsupported);
}

TEST(SeedManifest, WithAnImpossibleFieldIsRefusedThoughItsChecksumIsRight) {
    const ByteVector good = encode_seed_manifest(some_manifest(seed_part_bytes));
    struct Patch {
        std::size_t at;
        std::uint8_t value;
        const char* what;
    };
    constexpr std::size_t size = 44, still = 68, format = 69, machine_name = 70;
    for (const Patch& patch :
         {Patch{size, 1, "size is no multiple of a sector"},
          Patch{size + 7, 1, "larger than any disk"}, Patch{size + 3, 2, "other size than parts"},
          Patch{still, 2, "still is yes or no"}, Patch{format, 0, "format"},
          Patch{format, 5, "format"}, Patch{machine_name + 1, 9, "a name that is too long"}}) {
        ByteVector bytes = good;
        bytes[patch.at] = std::byte{patch.value};
        seal(bytes);
        const auto read = decode_seed_manifest(bytes);
        ASSERT_FALSE(read.has_value()) << patch.what;
        EXPECT_EQ(read.error().code, Errc::record_corrupt) << patch.what;
    }
}

class SeedMedium : public testing::Test {
protected:
    SeedMedium() : directory_(testing::TempDir() + "cw_seed_" + std::to_string(::getpid())) {
        fs::remove_all(directory_);
        fs::create_directories(directory_);
        ByteVector content(2 * seed_part_bytes + mib);
        random_->fill(MutableBytes(content).subspan(3 * mib, 300 * kib));
        random_->fill(MutableBytes(content).last(mib));
        write_file(path("disk"), content);
        request_.machine = machine_id();
        request_.disk_name = "disk";
        request_.source = path("disk");
        request_.output.path = path("seed");
        request_.freeze.marker_path = path("frozen");
    }
    ~SeedMedium() override { fs::remove_all(directory_); }

    std::string path(const std::string& name) const { return directory_ + "/" + name; }
    static void write_file(const std::string& name, Bytes content) {
        std::ofstream(name, std::ios::binary)
            .write(reinterpret_cast<const char*>(content.data()),
                   static_cast<std::streamsize>(content.size()));
    }
    ByteVector content_of(const std::string& name) {
        return read_file(*disk_, path(name), 64 * mib).value();
    }
    Result<SeedManifest> exported() {
        CW_TRY_ASSIGN(const ByteVector bytes, export_seed(request_, *disk_, *clock_, go_on_));
        return decode_seed_manifest(bytes);
    }
    Result<void> checked(const SeedManifest& manifest) {
        CW_TRY_ASSIGN(auto file, open_seed_file({path("seed"), manifest.format}, *clock_));
        CW_TRY_ASSIGN(const auto image, SeedImage::open(std::move(file), manifest));
        return check_seed(*image, go_on_);
    }
    static bool runs(const std::string& command) {
        return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
    }

    const std::string directory_;
    std::unique_ptr<Random> random_ = make_seeded_random(3);
    std::unique_ptr<cw::Disk> disk_ = make_posix_disk();
    std::unique_ptr<Clock> clock_ = make_system_clock();
    SeedProgress go_on_ = [](std::uint64_t, std::uint64_t) { return true; };
    SeedExport request_;
};

TEST_F(SeedMedium, HoldsTheDiskAndItsManifestSaysSo) {
    const auto manifest = exported();
    ASSERT_TRUE(manifest.has_value()) << to_string(manifest.error());
    EXPECT_EQ(content_of("seed"), content_of("disk"));
    EXPECT_EQ(decode_seed_manifest(content_of("seed.seed")).value(), *manifest);
    EXPECT_EQ(manifest->disk, disk_id_of(machine_id(), "disk"));
    EXPECT_EQ(manifest->file_bytes, 2 * seed_part_bytes + mib);
    EXPECT_TRUE(checked(*manifest).has_value());
    EXPECT_FALSE(fs::exists(path("seed.partial")));
}

TEST_F(SeedMedium, OfADiskThatIsHeldStillWhileItIsReadIsStill) {
    request_.freeze.pre = {"touch", path("quiet")};
    request_.freeze.post = {"rm", path("quiet")};
    const auto manifest = exported();
    ASSERT_TRUE(manifest.has_value());
    EXPECT_TRUE(manifest->still);
    EXPECT_FALSE(fs::exists(path("quiet")));
    EXPECT_FALSE(fs::exists(path("frozen")));
}

TEST_F(SeedMedium, IsNotMadeWhenThePreHookFails) {
    request_.freeze.pre = {"false"};
    request_.freeze.post = {"touch", path("let go")};
    const auto manifest = exported();
    ASSERT_FALSE(manifest.has_value());
    EXPECT_EQ(manifest.error().code, Errc::hook_failed);
    EXPECT_TRUE(fs::exists(path("let go")));
    EXPECT_FALSE(fs::exists(path("seed")));
}

TEST_F(SeedMedium, IsNotMadeOfADiskWhoseNameNobodyCouldRead) {
    for (const std::string& name : {std::string(), std::string(257, 'x')}) {
        request_.disk_name = name;
        const auto manifest = exported();
        ASSERT_FALSE(manifest.has_value());
        EXPECT_EQ(manifest.error().code, Errc::usage);
    }
    EXPECT_FALSE(fs::exists(path("seed")));
}

TEST_F(SeedMedium, DoesNotReplaceAnotherUnlessTold) {
    ASSERT_TRUE(exported().has_value());
    const auto again = exported();
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().code, Errc::file_exists);
    request_.replace = true;
    EXPECT_TRUE(exported().has_value());
}

TEST_F(SeedMedium, AnExportThatIsStoppedLeavesNoNames) {
    const auto made = export_seed(request_, *disk_, *clock_,
                                  [](std::uint64_t done, std::uint64_t) { return done == 0; });
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, Errc::cancelled);
    EXPECT_FALSE(fs::exists(path("seed")) || fs::exists(path("seed.seed")));
    EXPECT_FALSE(fs::exists(path("seed.partial")));
    EXPECT_TRUE(exported().has_value());
}

TEST_F(SeedMedium, WithOneChangedByteIsRefusedWhereItIs) {
    const auto manifest = exported();
    ASSERT_TRUE(manifest.has_value());
    ByteVector content = content_of("seed");
    content[seed_part_bytes + 77] ^= std::byte{1};
    write_file(path("seed"), content);
    auto file = open_seed_file({path("seed"), SeedFormat::raw}, *clock_);
    const auto image = SeedImage::open(std::move(*file), *manifest).value();
    ByteVector buffer(64 * kib);
    EXPECT_TRUE(image->read(0, buffer).has_value());
    EXPECT_FALSE(image->trouble());
    const auto read = image->read(seed_part_bytes + mib, buffer);
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().code, Errc::record_corrupt);
    ASSERT_TRUE(image->trouble());
    EXPECT_EQ(image->trouble()->code, Errc::record_corrupt);
    EXPECT_TRUE(image->read(2 * seed_part_bytes, buffer).has_value());
}

TEST_F(SeedMedium, ReadsAcrossPartsAsTheDiskIs) {
    const auto manifest = exported();
    ASSERT_TRUE(manifest.has_value());
    auto file = open_seed_file({path("seed"), SeedFormat::raw}, *clock_);
    const auto image = SeedImage::open(std::move(*file), *manifest).value();
    const ByteVector content = content_of("disk");
    ByteVector buffer(2 * mib);
    const std::uint64_t at = 2 * seed_part_bytes - mib;
    ASSERT_TRUE(image->read(at, buffer).has_value());
    EXPECT_TRUE(std::equal(buffer.begin(), buffer.end(),
                           content.begin() + static_cast<std::ptrdiff_t>(at)));
    EXPECT_FALSE(image->write(0, buffer).has_value());
    EXPECT_FALSE(image->zero(0, 512, false).has_value());
}

TEST_F(SeedMedium, OfAnotherSizeThanItsManifestIsRefused) {
    const auto manifest = exported();
    ASSERT_TRUE(manifest.has_value());
    fs::resize_file(path("seed"), seed_part_bytes);
    const auto bad = checked(*manifest);
    ASSERT_FALSE(bad.has_value());
    EXPECT_EQ(bad.error().code, Errc::size_mismatch);
}

TEST_F(SeedMedium, InEachFormatHoldsTheSame) {
    if (!runs("qemu-nbd --version")) {
        GTEST_SKIP() << "qemu-utils is not installed";
    }
    request_.replace = true;
    for (const SeedFormat format : {SeedFormat::qcow2, SeedFormat::vhd, SeedFormat::vhdx}) {
        request_.output.format = format;
        const auto manifest = exported();
        ASSERT_TRUE(manifest.has_value()) << to_string(manifest.error());
        EXPECT_EQ(manifest->size_bytes, 2 * seed_part_bytes + mib);
        const auto good = checked(*manifest);
        EXPECT_TRUE(good.has_value()) << name_of(format) << ": " << to_string(good.error());
    }
}

TEST_F(SeedMedium, ThatWantsOtherFilesBeneathItIsRefused) {
    if (!runs("qemu-nbd --version")) {
        GTEST_SKIP() << "qemu-utils is not installed";
    }
    const std::string create = "qemu-img create -q -f qcow2 ";
    ASSERT_TRUE(runs(create + "-F raw -b " + path("disk") + " " + path("overlay")));
    ASSERT_TRUE(runs(create + "-o data_file=" + path("data") + " " + path("apart") + " 8M"));
    for (const char* const name : {"overlay", "apart"}) {
        const auto opened = open_seed_file({path(name), SeedFormat::qcow2}, *clock_);
        ASSERT_FALSE(opened.has_value()) << name;
        EXPECT_EQ(opened.error().code, Errc::target_unsafe) << name;
    }
    const auto other = open_seed_file({path("disk"), SeedFormat::qcow2}, *clock_);
    ASSERT_FALSE(other.has_value());
    EXPECT_EQ(other.error().code, Errc::source_gone);
}

TEST(SeedFence, ThatIsHeldMakesNoPointAndTellsWhenAllIsInTheVault) {
    Harness h;
    h.server.auto_commit = false;
    h.replicator->hold_fences(true);
    ASSERT_TRUE(h.run_until([&] { return h.replicator->base(0).finished(); }));
    EXPECT_FALSE(h.replicator->consistent());
    const auto mark = h.replicator->begin_bare_fence(0);
    ASSERT_TRUE(mark.has_value());
    h.steps(200);
    EXPECT_FALSE(h.replicator->consistent());
    EXPECT_LT(h.replicator->status().disks[0].committed, *mark);
    h.server.commit();
    ASSERT_TRUE(h.run_until([&] { return h.replicator->status().disks[0].committed >= *mark; }));
    EXPECT_EQ(h.server.begins.size(), 2U);
    EXPECT_TRUE(h.server.points.empty());
    h.expect_no_violations();
}

}  // namespace
}  // namespace cw::agent::test
