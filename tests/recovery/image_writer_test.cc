#include "recovery/image_writer.h"

#include "egress/volume/target_hold.h"
#include "recovery/output_file.h"
#include "recovery/output_hold.h"
#include "recovery/restore.h"
#include "tests/fakes/sim_disk.h"
#include "tests/recovery/world.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::recovery {
namespace {

class ImageWriter : public testing::Test {
protected:
    ImageWriter() {
        for (int i = 0; i < 15; ++i) {
            world_.model.step();
        }
        point_ = world_.model.publish_point();
        reader_ = std::move(*world_.reader(catalog_ = world_.catalog(), point_));
        CW_ASSERT(disk_->create_directories("/out").has_value());
    }
    const ByteVector& truth() { return world_.model.truth().at(point_); }
    ByteVector content(const std::string& path) { return *read_file(*disk_, path, 64 * mib); }

    World world_{12, 9 * mib + 512};
    Catalog catalog_;
    PointId point_;
    std::unique_ptr<ImageReader> reader_;
    fakes::SimStorage storage_{1};
    std::unique_ptr<fakes::SimDisk> disk_ = storage_.make_disk();
};

TEST_F(ImageWriter, WritesTheDiskAsItWas) {
    std::uint64_t seen = 0, total = 0;
    const auto report = write_image(*reader_, *disk_, {.path = "/out/a", .verify = true},
                                    [&](std::uint64_t done, std::uint64_t all) {
                                        EXPECT_GT(done, seen);
                                        seen = done;
                                        total = all;
                                    });
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_EQ(content("/out/a"), truth());
    EXPECT_EQ(seen, truth().size());
    EXPECT_EQ(total, truth().size());
    EXPECT_EQ(report->sha256, sha256(truth()));
    EXPECT_LT(report->written_bytes, truth().size());  // Holes stay holes.
    EXPECT_FALSE(*disk_->exists("/out/a.partial"));
}

TEST_F(ImageWriter, RefusesToReplaceAFileUnlessForced) {
    ASSERT_TRUE(write_file_atomically(*disk_, "/out/a", as_bytes("precious")));
    const auto refused = write_image(*reader_, *disk_, {.path = "/out/a"}, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::file_exists);
    EXPECT_EQ(as_text(content("/out/a")), "precious");
    ASSERT_TRUE(write_image(*reader_, *disk_, {.path = "/out/a", .force = true}, {}));
    EXPECT_EQ(content("/out/a"), truth());
}

TEST_F(ImageWriter, LeavesNothingBehindWhenItIsCancelled) {
    unsigned asked = 0;
    const auto report = write_image(
        *reader_, *disk_, {.path = "/out/a", .cancelled = [&] { return ++asked > 2; }}, {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::cancelled);
    EXPECT_TRUE(disk_->list("/out")->empty());
}

TEST(OutputFile, RemovesWhatAKilledRestoreLeftAndNotWhatIsStillWritten) {
    const auto disk = make_posix_disk();
    const std::string directory = testing::TempDir() + "output_file_left_test";
    const std::string path = directory + "/disk";
    ASSERT_TRUE(disk->create_directories(directory));
    ASSERT_TRUE(write_file_atomically(*disk, path + ".partial", as_bytes("left")));
    {
        auto first = OutputFile::create(*disk, path, mib, false);
        ASSERT_TRUE(first) << to_string(first.error());
        const auto second = OutputFile::create(*disk, path, mib, true);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code, Errc::in_use);
        ASSERT_TRUE(first->write(0, ByteVector(512)));
        ASSERT_TRUE(first->finish());
    }
    EXPECT_EQ(disk->list(directory)->size(), 1U);
    ASSERT_TRUE(disk->remove(path));
    ASSERT_EQ(::rmdir(directory.c_str()), 0);
}

// What may be replaced when the work begins may have an owner when it ends, hours later.
TEST(OutputFile, IsAskedAgainForWhatItReplacesRightBeforeItsName) {
    const auto disk = make_posix_disk();
    const std::string directory = testing::TempDir() + "output_file_replaced_test";
    const std::string path = directory + "/disk";
    ASSERT_TRUE(disk->create_directories(directory));
    ASSERT_TRUE(write_file_atomically(*disk, path, as_bytes("of an earlier try")));
    bool own = false;
    const auto may_replace = [&] { return own; };
    EXPECT_EQ(OutputFile::create(*disk, path, mib, false, may_replace).error().code,
              Errc::file_exists);
    for (const bool touched : {true, false}) {
        own = true;
        auto out = OutputFile::create(*disk, path, mib, false, may_replace);
        ASSERT_TRUE(out) << to_string(out.error());
        own = !touched;
        const auto finished = out->finish();
        EXPECT_EQ(finished.has_value(), !touched);
        EXPECT_EQ(as_text(*read_file(*disk, path, 2 * mib)) == "of an earlier try", touched);
    }
    ASSERT_TRUE(disk->remove(path));
    ASSERT_EQ(::rmdir(directory.c_str()), 0);
}

TEST(OutputFile, IsHeldByOneCommandWhateverItWritesWith) {
    const auto disk = make_posix_disk();
    const std::string directory = testing::TempDir() + "output_file_held_test";
    const std::string path = directory + "/disk";
    ASSERT_TRUE(disk->create_directories(directory));
    {
        const auto converted = hold_output(path);
        ASSERT_TRUE(converted && *converted);
        ASSERT_TRUE(write_file_atomically(*disk, partial_of(path), as_bytes("of qemu-img")));
        const auto refused = OutputFile::create(*disk, path, mib, true);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::in_use);
        EXPECT_EQ(as_text(*read_file(*disk, partial_of(path), mib)), "of qemu-img");
    }
    {
        const auto restored = OutputFile::create(*disk, path, mib, true);
        ASSERT_TRUE(restored) << to_string(restored.error());
        const auto refused = hold_output(path);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::in_use);
    }
    EXPECT_TRUE(disk->list(directory)->empty());
    ASSERT_EQ(::rmdir(directory.c_str()), 0);
}

// It would go on in a file without a name, and lose what it writes there.
TEST(OutputFile, OfARunningMachineIsNotReplacedEvenIfForced) {
    const auto disk = make_posix_disk();
    const std::string directory = testing::TempDir() + "output_file_used_test";
    const std::string path = directory + "/disk";
    ASSERT_TRUE(disk->create_directories(directory));
    ASSERT_TRUE(write_file_atomically(*disk, path, as_bytes("runs")));
    {
        const auto machine = volume::TargetHold::take(path);
        ASSERT_TRUE(machine);
        const auto refused = OutputFile::create(*disk, path, mib, true);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::target_unsafe);
        EXPECT_FALSE(hold_output(path));
    }
    EXPECT_TRUE(OutputFile::create(*disk, path, mib, true));
    EXPECT_EQ(as_text(*read_file(*disk, path, mib)), "runs");
    ASSERT_TRUE(disk->remove(path));
    ASSERT_EQ(::rmdir(directory.c_str()), 0);
}

TEST(OutputFile, ReplacesNeitherDirectoryNorPipeEvenIfForced) {
    const auto disk = make_posix_disk();
    const std::string directory = testing::TempDir() + "output_file_test";
    const std::string pipe = directory + "/pipe";
    ASSERT_TRUE(disk->create_directories(directory));
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    for (const std::string& path : {directory, pipe}) {
        const auto refused = OutputFile::create(*disk, path, mib, true);
        ASSERT_FALSE(refused) << path;
        EXPECT_EQ(refused.error().code, Errc::target_unsafe);
    }
    ASSERT_TRUE(disk->remove(pipe));
    ASSERT_EQ(::rmdir(directory.c_str()), 0);
}

TEST_F(ImageWriter, LeavesNothingBehindWhenItFails) {
    for (const auto& name : world_.memory.names()) {
        if (name.container == blob::Container::data) {
            world_.memory.flip_bit(name, 64 * 8 + 5);  // The first chunk.
        }
    }
    const auto report = write_image(*reader_, *disk_, {.path = "/out/a"}, {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::object_corrupt);
    EXPECT_TRUE(disk_->list("/out")->empty());
}

TEST_F(ImageWriter, ReadingBackSeesADiskThatLies) {
    storage_.plan().write_flipped = 10'000;
    const auto report = write_image(*reader_, *disk_, {.path = "/out/a", .verify = true}, {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::restore_mismatch);
    storage_.plan().write_flipped = 0;
    EXPECT_TRUE(disk_->list("/out")->empty());
}

TEST_F(ImageWriter, SaysWhenTheTargetIsFull) {
    storage_.plan().capacity_bytes = 64 * kib;
    const auto report = write_image(*reader_, *disk_, {.path = "/out/a"}, {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::disk_full);
    EXPECT_TRUE(report.error().detail.starts_with("that of /out, where this command writes"))
        << report.error().detail;
    EXPECT_TRUE(report.error().next.starts_with("df -h /out; ")) << report.error().next;
    EXPECT_FALSE(*disk_->exists("/out/a"));
}

TEST_F(ImageWriter, AFinishedFileSurvivesAPowerCut) {
    ASSERT_TRUE(disk_->sync_directory("/"));
    ASSERT_TRUE(write_image(*reader_, *disk_, {.path = "/out/a"}, {}));
    storage_.power_cut();
    disk_ = storage_.make_disk();
    EXPECT_EQ(content("/out/a"), truth());
}

TEST_F(ImageWriter, RestoresByNameOfPointAndDisk) {
    RestoreRequest request;
    request.machine = world_.machine;
    request.disk = "vda";
    request.write.path = "/out/b";
    const auto report = restore_disk(*world_.store, *world_.kek, *disk_, request, {});
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_EQ(content("/out/b"), truth());
    EXPECT_EQ(report->point.id, point_);
    EXPECT_GT(report->fetched_bytes, 0U);
    request.write.path = "/out/c";
    request.disk = "vdb";
    EXPECT_EQ(restore_disk(*world_.store, *world_.kek, *disk_, request, {}).error().code,
              Errc::not_found);
    request.machine = make_id<MachineId>(*world_.random);
    EXPECT_EQ(restore_disk(*world_.store, *world_.kek, *disk_, request, {}).error().code,
              Errc::not_found);
}

}  // namespace
}  // namespace cw::recovery
