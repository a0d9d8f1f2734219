// A failover brings back every disk of one point, or it is refused before a byte is written.
#include "appliance/operator/outputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using recovery::DiskAtPoint;
using ::testing::HasSubstr;

DiskAtPoint disk(unsigned char number, std::string name) {
    DiskAtPoint out;
    out.disk.bytes.back() = std::byte{number};
    out.name = std::move(name);
    return out;
}

std::vector<std::string> paths(const Result<std::vector<DiskOutput>>& outputs) {
    std::vector<std::string> out;
    EXPECT_TRUE(outputs) << (outputs ? "" : to_string(outputs.error()));
    for (const DiskOutput& output : outputs ? *outputs : std::vector<DiskOutput>{}) {
        out.push_back(output.path);
    }
    return out;
}

std::string refusal(const Result<std::vector<DiskOutput>>& outputs, Errc code = Errc::usage) {
    EXPECT_FALSE(outputs);
    EXPECT_EQ(outputs.error().code, code);
    return outputs.error().detail;
}

const std::vector<DiskAtPoint> one{disk(1, "root")};
const std::vector<DiskAtPoint> two{disk(1, "root"), disk(2, "data=x")};
using Paths = std::vector<std::string>;

TEST(Outputs, AMachineOfOneDiskNeedsAPathOnly) {
    EXPECT_EQ(paths(place_outputs(one, {.outputs = {"/a=b.img"}})), Paths{"/a=b.img"});
    EXPECT_EQ(paths(place_outputs(one, {.outputs = {"root=/a.img"}})), Paths{"/a.img"});
    EXPECT_EQ(paths(place_outputs(one, {.outputs = {"/a.img"}, .disk = "root"})), Paths{"/a.img"});
    EXPECT_THAT(
        refusal(place_outputs(one, {.outputs = {"/a.img"}, .disk = "other"}), Errc::not_found),
        HasSubstr("other"));
}

TEST(Outputs, EveryDiskOfThePointHasOne) {
    EXPECT_EQ(paths(place_outputs(two, {.outputs = {"data=x=/d.img", "root=/r.img"}})),
              (Paths{"/r.img", "/d.img"}));
    EXPECT_EQ(paths(place_outputs(
                  two, {.outputs = {to_string(two[1].disk) + "=/d=.img", "root=/r.img"}})),
              (Paths{"/r.img", "/d=.img"}));
    EXPECT_THAT(refusal(place_outputs(two, {.outputs = {"root=/r.img"}})), HasSubstr("data=x"));
    EXPECT_THAT(refusal(place_outputs(two, {.outputs = {"/r.img"}})), HasSubstr("root"));
    EXPECT_THAT(refusal(place_outputs(two, {.outputs = {"root=", "data=x=/d"}})),
                HasSubstr("says nothing of disk"));
}

TEST(Outputs, OneDiskOfSeveralIsNoFailover) {
    EXPECT_THAT(refusal(place_outputs(two, {.outputs = {"/r.img"}, .disk = "root"})),
                HasSubstr("causeway export"));
}

TEST(Outputs, NothingIsWrittenTwice) {
    refusal(place_outputs(two, {.outputs = {"root=/a", "data=x=/a"}}));
    refusal(place_outputs(two, {.outputs = {"root=/a", "root=/b", "data=x=/c"}}));
    refusal(place_outputs(one, {.outputs = {"/a", "/b"}}));
    refusal(place_outputs(one, {.outputs = {"/a"}, .directory = "/d"}));
    refusal(place_outputs(one, {}));
}

TEST(Outputs, AFailbackTakesEveryDiskOrTheOneThatIsAskedFor) {
    EXPECT_EQ(paths(place_targets(one, {.targets = {"/old=1.img"}})), Paths{"/old=1.img"});
    EXPECT_EQ(paths(place_targets(two, {.targets = {"data=x=/d.img", "root=/r.img"}})),
              (Paths{"/r.img", "/d.img"}));
    const auto half = refusal(place_targets(two, {.targets = {"root=/r.img"}}));
    EXPECT_THAT(half, HasSubstr("data=x"));
    EXPECT_THAT(half, HasSubstr("--disk DISK --target PATH"));
    EXPECT_EQ(paths(place_targets(two, {.targets = {"/r=.img"}, .disk = "root"})),
              Paths{"/r=.img"});
    EXPECT_EQ(paths(place_targets(two, {.targets = {"root=/r.img"}, .disk = "root"})),
              Paths{"/r.img"});
    refusal(place_targets(two, {.targets = {"/r", "/d"}, .disk = "root"}));
    refusal(place_targets(two, {.targets = {"/r"}, .disk = "other"}), Errc::not_found);
    refusal(place_targets(two, {.targets = {"/r"}}));
    refusal(place_targets(two, {.targets = {"root=/a", "data=x=/a"}}));
}

TEST(Outputs, OfAFailbackThatIsHalfDoneTheRestIsEnough) {
    const std::vector<DiskId> back{two[0].disk};
    EXPECT_EQ(paths(place_targets(two, {.targets = {"data=x=/d.img"}, .back = back})),
              Paths{"/d.img"});
    EXPECT_EQ(
        paths(place_targets(two, {.targets = {"root=/r.img", "data=x=/d.img"}, .back = back})),
        (Paths{"/r.img", "/d.img"}));
    EXPECT_THAT(refusal(place_targets(two, {.targets = {"root=/r.img"}, .back = back})),
                HasSubstr("data=x"));
}

TEST(Outputs, InADirectoryANameIsAFileNameOnlyIfItCanBeNothingElse) {
    const std::vector<DiskAtPoint> disks{disk(1, "vda"),  disk(2, "../etc/x"), disk(3, ".ssh"),
                                         disk(4, "twin"), disk(5, "twin"),     disk(6, "")};
    const Paths found =
        paths(place_outputs(disks, {.directory = "/restore", .extension = "qcow2"}));
    ASSERT_EQ(found.size(), disks.size());
    EXPECT_EQ(found[0], "/restore/vda.qcow2");
    for (std::size_t i = 1; i < disks.size(); ++i) {
        EXPECT_EQ(found[i], "/restore/" + to_string(disks[i].disk) + ".qcow2");
    }
}

}  // namespace
}  // namespace cw::appliance
