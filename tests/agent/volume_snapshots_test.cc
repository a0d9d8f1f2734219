// LVM snapshots, with programs that stand in for lvs, lvcreate and lvremove: a snapshot is a copy.
#include "agent/scan/volume_snapshots.h"

#include "agent/scan/scan_source.h"
#include "tests/agent/harness.h"

#include <fstream>

#include <poll.h>
#include <sys/stat.h>

namespace cw::agent::test {
namespace {

// Called by the name of each tool, beside the origin `data` and its snapshots NAME.snap.
constexpr const char* tool = R"TOOL(#!/bin/sh
here=$(dirname "$0") tool=$(basename "$0")
echo "$tool $*" >> "$here/calls"
while [ -e "$here/hang-$tool" ]; do sleep 0.02; done
[ ! -e "$here/fail-$tool" ] || { cat "$here/fail-$tool" >&2; exit 5; }
for last; do :; done
row() { echo "  vg0|$1|$(cat "$here/attributes")|$here/$1.snap||$(cat "$here/$1.tag")"; }
origin() { echo "  vg0|data|owi-aos---|$here/data|$(cat "$here/pool" 2>/dev/null)|"; }
case $tool in
    lvs) case $last in
        vg0/*) [ -e "$here/${last#vg0/}.snap" ] && row "${last#vg0/}" ;;
        */data) origin ;;
        *) origin
            for each in "$here"/*.snap; do [ ! -e "$each" ] || row "$(basename "$each" .snap)"; done ;;
        esac ;;
    lvcreate)
        while [ $# -gt 1 ]; do
            case $1 in --name) name=$2 ;; --addtag) tag=$2 ;; esac
            shift
        done
        [ ! -e "$here/$name.snap" ] || exit 5
        echo "$tag" > "$here/$name.tag" && cp "$here/data" "$here/$name.snap" ;;
    lvremove) [ -e "$here/${last#vg0/}.snap" ] && rm "$here/${last#vg0/}.snap" ;;
esac
)TOOL";

class Lvm : public testing::Test {
protected:
    Lvm() : clock_(make_system_clock()), home_(h_.directory + "/lvm") {
        std::filesystem::create_directory(home_);
        for (const char* const name : {"lvs", "lvcreate", "lvremove"}) {
            put(name, tool);
            ::chmod((home_ + "/" + name).c_str(), 0700);
        }
        put("attributes", "swi-a-s---");
        put_disk();
    }
    void put(const std::string& name, const std::string& text) {
        std::ofstream(home_ + "/" + name) << text;
    }
    void put_disk() {
        const ByteVector disk = h_.images[0]->copy();
        put("data", std::string(as_text(disk)));
    }
    void drop(const std::string& name) { std::filesystem::remove(home_ + "/" + name); }
    [[nodiscard]] bool has(const std::string& name) const {
        return std::filesystem::exists(home_ + "/" + name);
    }
    [[nodiscard]] std::string calls() const {
        std::ifstream in(home_ + "/calls");
        return {std::istreambuf_iterator<char>(in), {}};
    }
    std::unique_ptr<VolumeSnapshots> make(std::int64_t limit_ns = 60 * ns_per_s) {
        return std::make_unique<VolumeSnapshots>(
            VolumeSnapshots::Options{.machine = machine_},
            LvmTools::find(home_, *clock_, limit_ns).value(), *clock_,
            std::vector<VolumeSnapshots::Disk>{
                {h_.id_of(0), home_ + "/data", h_.options.disk_bytes}});
    }
    std::optional<Error> finish(VolumeSnapshots& snapshots) {
        const Nanos limit = clock_->boot() + 120 * ns_per_s;
        while (snapshots.step() && clock_->boot() - limit < 0) {
            ::poll(nullptr, 0, 2);
        }
        return snapshots.error();
    }
    std::optional<Error> prepare_and_create(VolumeSnapshots& snapshots) {
        snapshots.begin_prepare();
        if (auto error = finish(snapshots)) {
            return error;
        }
        snapshots.begin_create();
        return finish(snapshots);
    }
    [[nodiscard]] std::string name() const { return "causeway-" + to_string(h_.id_of(0)); }

    Harness h_;
    std::unique_ptr<Clock> clock_;
    std::string home_;
    MachineId machine_ = parse_id<MachineId>("11111111-2222-4333-8444-555555555555").value();
};

TEST_F(Lvm, SnapshotIsMadeReadCheckedAndRemoved) {
    const auto snapshots = make();
    ASSERT_FALSE(prepare_and_create(*snapshots));
    snapshots->begin_find();
    ASSERT_FALSE(finish(*snapshots));
    {
        auto views = snapshots->open_views();
        ASSERT_TRUE(views.has_value());
        EXPECT_EQ(views->at(0)->size(), h_.options.disk_bytes);
    }
    snapshots->begin_check();
    EXPECT_FALSE(finish(*snapshots));
    EXPECT_TRUE(has(name() + ".snap"));
    snapshots->begin_remove();
    EXPECT_FALSE(finish(*snapshots));
    EXPECT_FALSE(has(name() + ".snap"));
    EXPECT_NE(calls().find("--snapshot --name " + name()), std::string::npos) << calls();
    EXPECT_NE(calls().find("--permission r --extents 10%ORIGIN vg0/data"), std::string::npos);
}

TEST_F(Lvm, ThinVolumeNeedsNoSizeButItsActivationSkipIgnored) {
    put("pool", "pool0");
    const auto snapshots = make();
    ASSERT_FALSE(prepare_and_create(*snapshots));
    EXPECT_NE(calls().find("--permission r --ignoreactivationskip vg0/data"), std::string::npos);
    EXPECT_EQ(calls().find("ORIGIN"), std::string::npos);
}

TEST_F(Lvm, GroupWithoutSpaceIsSaidInItsOwnWords) {
    put("fail-lvcreate", "  Volume group \"vg0\" has insufficient free space");
    const auto snapshots = make();
    const auto error = prepare_and_create(*snapshots);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, Errc::snapshot_failed);
    EXPECT_NE(error->detail.find("insufficient free space"), std::string::npos) << error->detail;
}

TEST_F(Lvm, SnapshotThatRanFullIsNotBelieved) {
    const auto snapshots = make();
    ASSERT_FALSE(prepare_and_create(*snapshots));
    put("attributes", "swi-I-s---");
    snapshots->begin_check();
    const auto error = finish(*snapshots);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, Errc::snapshot_failed);
    EXPECT_NE(error->detail.find("ran full"), std::string::npos);
}

TEST_F(Lvm, WhatAKilledAgentLeftIsRemovedAndNothingElse) {
    for (const char* const left : {"causeway-old", "causeway-other", "mine"}) {
        put(std::string(left) + ".snap", "x");
        put(std::string(left) + ".tag", "causeway-" + to_string(machine_));
    }
    put("causeway-other.tag", "causeway-somebody");
    const auto snapshots = make();
    snapshots->begin_prepare();
    ASSERT_FALSE(finish(*snapshots));
    EXPECT_FALSE(has("causeway-old.snap"));
    EXPECT_TRUE(has("causeway-other.snap"));
    EXPECT_TRUE(has("mine.snap"));
}

// lvcreate may have suspended the volume: it is not killed, and what it makes yet is removed later.
TEST_F(Lvm, ToolThatHangsIsLeftAloneAndNothingElseIsStartedUntilItEnds) {
    const auto snapshots = make(5 * ns_per_s);
    snapshots->begin_prepare();
    ASSERT_FALSE(finish(*snapshots));
    put("hang-lvcreate", "");
    snapshots->begin_create();
    auto error = finish(*snapshots);
    ASSERT_TRUE(error);
    EXPECT_NE(error->detail.find("lvcreate does not end"), std::string::npos) << error->detail;
    snapshots->begin_prepare();
    error = finish(*snapshots);
    ASSERT_TRUE(error);
    EXPECT_NE(error->detail.find("does not end"), std::string::npos);
    drop("hang-lvcreate");
    const Nanos limit = clock_->boot() + 120 * ns_per_s;
    do {
        ::poll(nullptr, 0, 10);
        snapshots->begin_prepare();
        error = finish(*snapshots);
    } while (error && clock_->boot() - limit < 0);
    EXPECT_FALSE(error);
    EXPECT_FALSE(has(name() + ".snap"));
}

TEST_F(Lvm, SnapshotThatIsBusyIsRemovedBeforeTheNextOne) {
    const auto snapshots = make();
    ASSERT_FALSE(prepare_and_create(*snapshots));
    put("fail-lvremove", "  Logical volume vg0/x in use.");
    snapshots->begin_remove();
    const auto error = finish(*snapshots);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, Errc::snapshot_failed);
    EXPECT_TRUE(has(name() + ".snap"));
    drop("fail-lvremove");
    ASSERT_FALSE(prepare_and_create(*snapshots));
}

TEST_F(Lvm, SnapshotsGoWithTheirOwner) {
    auto snapshots = make();
    ASSERT_FALSE(prepare_and_create(*snapshots));
    ASSERT_TRUE(has(name() + ".snap"));
    snapshots.reset();
    EXPECT_FALSE(has(name() + ".snap"));
}

TEST(LvmTools, AnswersThatAreNoTableAreRefused) {
    EXPECT_TRUE(parse_volumes("").value().empty());
    EXPECT_EQ(parse_volumes("  vg0|a|-wi-a-----|/dev/vg0/a||x,y\n").value().at(0).tags.size(), 2U);
    for (const char* const bad :
         {"vg0|a", "vg0||-wi|/dev/x||", "|a|-wi|/dev/x||", "a|b|c|d|e|f|g"}) {
        EXPECT_EQ(parse_volumes(bad).error().code, Errc::snapshot_failed) << bad;
    }
}

class LvmScan : public Lvm {
protected:
    // `then` and `before` are what the post- and the pre-hook do beside saying so.
    void make_scan(bool insist, const std::string& then = "true",
                   const std::string& before = "true") {
        const std::string log = home_ + "/calls";
        freezer_ = std::make_unique<Freezer>(
            Freezer::Options{.pre = {"sh", "-c", "echo pre >> " + log + "; " + before},
                             .post = {"sh", "-c", "echo post >> " + log + "; " + then},
                             .marker_path = h_.directory + "/frozen"},
            *h_.disk, *clock_);
        std::vector<ScanSource::Disk> disks;
        disks.push_back({h_.captures[0].get(), h_.directory + "/none", h_.directory + "/clone",
                         DigestTable::open(*h_.disk, *h_.random, h_.directory + "/digests",
                                           h_.options.disk_bytes, true)
                             .value()});
        scan_ = std::make_unique<ScanSource>(
            ScanSource::Options{.try_clones = false, .insist_on_snapshots = insist}, *h_.replicator,
            *freezer_, std::move(disks), make());
        ASSERT_TRUE(h_.run_until_protected());
    }
    void begin_scan() {
        const Nanos limit = clock_->boot() + 120 * ns_per_s;
        while (!scan_->begin("t") && clock_->boot() - limit < 0) {
            scan_->step();  // What it does at the start.
            ::poll(nullptr, 0, 2);
        }
        std::ofstream(home_ + "/calls", std::ios::trunc);
    }
    std::optional<Result<PointId>> scan() {
        begin_scan();
        const Nanos limit = clock_->boot() + 120 * ns_per_s;
        const auto busy = [this] {  // Also with a post-hook.
            return scan_->running() || freezer_->state() != Freezer::State::idle;
        };
        while (busy() && clock_->boot() - limit < 0) {
            scan_->step();
            h_.steps(1);
            ::poll(nullptr, 0, 1);
        }
        return scan_->outcome();
    }
    // The tools and pre-hooks that were called, by their first words; a post-hook runs beside them.
    [[nodiscard]] std::string order() const { return in_order(false); }
    [[nodiscard]] std::string order_of_hooks() const { return in_order(true); }
    [[nodiscard]] std::string in_order(bool hooks) const {
        std::istringstream in(calls());
        std::string line, out;
        while (std::getline(in, line)) {
            const std::string word = line.substr(0, line.find(' '));
            const bool post = word == "post", lvs = word == "lvs" || word == "lvremove";
            out += (hooks ? lvs : post) ? "" : word + " ";
        }
        return out;
    }
    std::unique_ptr<Freezer> freezer_;
    std::unique_ptr<ScanSource> scan_;
};

TEST_F(LvmScan, LetsTheWritersGoBeforeItReadsAndIsOfTheSnapshot) {
    ASSERT_NO_FATAL_FAILURE(make_scan(true));
    const ByteVector data(64 * kib, std::byte{7});
    ASSERT_TRUE(h_.images[0]->write(mib, data));
    put_disk();
    const ByteVector then = h_.images[0]->copy();
    const auto outcome = scan();
    ASSERT_TRUE(outcome && *outcome) << to_string(outcome->error());
    EXPECT_EQ(order(), "lvs lvs pre lvcreate lvs lvs lvremove ");
    EXPECT_EQ(order_of_hooks(), "pre lvcreate post ");
    h_.at_point.emplace(**outcome, std::vector<ByteVector>{then});
    ASSERT_TRUE(h_.run_until(
        [&] { return h_.replicator->points().find(**outcome)->phase == PointPhase::committed; }));
    EXPECT_EQ(h_.check_points(), 1U);
    EXPECT_FALSE(has(name() + ".snap"));
}

TEST_F(LvmScan, IsDatedByItsSnapshotAndWaitsForNoPostHook) {
    const std::string go = home_ + "/go";
    // What follows the snapshot waits until time has passed, however late this is looked at.
    ASSERT_NO_FATAL_FAILURE(
        make_scan(true, "while [ -e " + home_ + " ] && [ ! -e " + go + " ]; do sleep 0.02; done",
                  "touch " + home_ + "/hang-lvs"));
    begin_scan();
    const WallMicros began = h_.clock.wall();
    constexpr std::int64_t long_ns = 1000 * ns_per_s;
    bool advanced = false;
    const Nanos limit = clock_->boot() + 120 * ns_per_s;
    while (scan_->running() && clock_->boot() - limit < 0) {
        scan_->step();
        h_.steps(1);
        if (!advanced && order_of_hooks().ends_with("post ")) {
            advanced = true;  // From here on it takes its time.
            h_.clock.advance(long_ns);
            drop("hang-lvs");
        }
        ::poll(nullptr, 0, 1);
    }
    EXPECT_EQ(freezer_->state(), Freezer::State::finishing);
    ASSERT_TRUE(advanced && scan_->outcome() && *scan_->outcome());
    const TrackedPoint* const point = h_.replicator->points().find(**scan_->outcome());
    ASSERT_NE(point, nullptr);
    EXPECT_LT(raw(point->source_time) - raw(began), long_ns / 1000);
    std::ofstream(go).put('1');
    while (freezer_->state() != Freezer::State::idle && clock_->boot() - limit < 0) {
        scan_->step();
        ::poll(nullptr, 0, 1);
    }
    EXPECT_EQ(freezer_->state(), Freezer::State::idle);
}

TEST_F(LvmScan, WithoutASnapshotMakesNoPointWhereOneIsInsistedOn) {
    ASSERT_NO_FATAL_FAILURE(make_scan(true));
    put("fail-lvcreate", "no space");
    const auto outcome = scan();
    ASSERT_TRUE(outcome && !*outcome);
    EXPECT_EQ(outcome->error().code, Errc::snapshot_failed);
    EXPECT_EQ(order_of_hooks(), "pre lvcreate post ");
}

TEST_F(LvmScan, WithoutASnapshotReadsWhatIsHeldElsewise) {
    ASSERT_NO_FATAL_FAILURE(make_scan(false));
    put("fail-lvcreate", "no space");
    const auto outcome = scan();
    ASSERT_TRUE(outcome && *outcome) << to_string(outcome->error());
    EXPECT_EQ(order_of_hooks(), "pre lvcreate post pre post ");
    ASSERT_TRUE(scan_->snapshot_error());
    EXPECT_EQ(scan_->snapshot_error()->code, Errc::snapshot_failed);
}

TEST_F(LvmScan, OfASnapshotThatRanFullMakesNoPointAndRemovesIt) {
    ASSERT_NO_FATAL_FAILURE(make_scan(true));
    put("attributes", "swi-I-s---");
    const auto outcome = scan();
    ASSERT_TRUE(outcome && !*outcome);
    EXPECT_EQ(outcome->error().code, Errc::snapshot_failed);
    EXPECT_FALSE(has(name() + ".snap"));
}

}  // namespace
}  // namespace cw::agent::test
