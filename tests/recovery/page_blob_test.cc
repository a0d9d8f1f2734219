// Disks that are written into page blobs: what an upload outlives, and what it leaves.
#include "recovery/page_blob_writer.h"
#include "tests/recovery/page_blob_world.h"

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

using fake_azure::Action;

constexpr std::int64_t minute_ns = 60 * ns_per_s;

class BadService : public testing::Test {
protected:
    Result<PageBlobReport> upload(bool verify = false) {
        PageBlobOptions options;
        options.verify = verify;
        options.blob = {"disks", "one"};
        options.existing = true;
        options.trouble = [this](const Error& last, std::int64_t ns) {
            EXPECT_FALSE(last.detail.empty());
            EXPECT_GE(ns, options_.tell_ns);
            ++told_;
        };
        options.retry = options_;
        return write_page_blob(image_, {service_, clock_, *random_}, options,
                               [this](std::uint64_t done, std::uint64_t all) {
                                   EXPECT_LE(done, all);
                                   longest_silence_ns_ =
                                       std::max(longest_silence_ns_, clock_.boot() - shown_);
                                   shown_ = clock_.boot();
                               });
    }
    [[nodiscard]] bool whole() const {
        return std::ranges::equal(Bytes(service_.bytes()).first(image_.bytes().size()),
                                  image_.bytes());
    }

    ManualClock clock_;
    const Nanos start_ = clock_.boot();
    std::unique_ptr<Random> random_ = make_seeded_random(5);
    FlatImage image_{FlatImage::holed(5, 64 * mib)};
    SlowService service_{clock_, vhd_disk_bytes(64 * mib) + vhd_footer_bytes};
    PageRetry options_;
    unsigned told_ = 0;
    Nanos shown_ = start_;
    std::int64_t longest_silence_ns_ = 0;
};

TEST_F(BadService, MinutesOfItAreOutlivedWithFewRequestsAndWithProgressShown) {
    service_.down_from = start_ + 50 * ns_per_ms;
    service_.down_until = start_ + 12 * minute_ns;
    const auto report = upload();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(whole());
    EXPECT_GE(clock_.boot() - start_, 12 * minute_ns);
    EXPECT_LT(service_.refused, 4 * 12 * 10U);  // The pauses have grown.
    EXPECT_LE(longest_silence_ns_, ns_per_s);
    EXPECT_GE(told_, 10U);
    EXPECT_LE(told_, 12 * 2 + 2U);
}

TEST_F(BadService, AQuarterOfAnHourWithoutAnythingIsTheEndAndIsCalledThat) {
    service_.down_from = start_ + 50 * ns_per_ms;
    service_.down_until = Nanos{INT64_MAX};
    const auto report = upload();
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::blob_unavailable);
    EXPECT_NE(report.error().detail.find("status 500; given up: every try of the last 9"),
              std::string::npos)
        << report.error().detail;
    EXPECT_GE(clock_.boot() - start_, 15 * minute_ns);
    EXPECT_LE(clock_.boot() - start_, 16 * minute_ns);
}

TEST_F(BadService, OfWhichNothingWasEverHeardEndsTheUploadSooner) {
    service_.down_from = start_;
    service_.down_until = Nanos{INT64_MAX};
    ASSERT_FALSE(upload());
    EXPECT_GE(clock_.boot() - start_, 2 * minute_ns);
    EXPECT_LE(clock_.boot() - start_, 3 * minute_ns);
}

TEST_F(BadService, WhatTimeDoesNotChangeIsNotWaitedFor) {
    service_.says = Errc::blob_denied;
    service_.down_from = start_ + 50 * ns_per_ms;
    service_.down_until = Nanos{INT64_MAX};
    const auto report = upload();
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::blob_denied);
    EXPECT_LT(clock_.boot() - start_, 5 * ns_per_s);
}

TEST_F(BadService, AnUploadThatWaitsForItCanBeCancelled) {
    service_.down_from = start_ + 50 * ns_per_ms;
    service_.down_until = Nanos{INT64_MAX};
    std::optional<Nanos> asked;
    PageBlobOptions options;
    options.existing = true;
    options.cancelled = [&] {
        const bool now = clock_.boot() - start_ > minute_ns;
        if (now && !asked) {
            asked = clock_.boot();
        }
        return now;
    };
    const auto report = write_page_blob(image_, {service_, clock_, *random_}, options, {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::cancelled);
    ASSERT_TRUE(asked);
    EXPECT_LE(clock_.boot() - *asked, ns_per_s);
}

TEST_F(BadService, ThrottlingShrinksWhatIsInFlight) {
    service_.bears = 1;
    service_.latency_ns = ns_per_s;
    service_.counts_from = start_ + 5 * ns_per_s;
    ASSERT_TRUE(upload());
    EXPECT_TRUE(whole());
    EXPECT_LE(service_.most_at_once, 2U);  // One more than it bears is tried now and then.
}

TEST_F(BadService, AnswersThatComeLateShrinkWhatIsInFlight) {
    service_.latency_ns = 11 * ns_per_s;
    ASSERT_TRUE(upload());
    EXPECT_TRUE(whole());
    // Four at once, then two, then one after the other.
    EXPECT_GE(clock_.boot() - start_, (16 - 4 - 2) * service_.latency_ns);
}

TEST_F(BadService, AVaultThatDoesNotAnswerIsAskedAgainToo) {
    image_.fail_reads(6);
    const auto report = upload();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(whole());
}

TEST_F(BadService, AWriteThatItForgetsIsFound) {
    service_.forgets = 12 * mib;
    const auto report = upload();
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::restore_mismatch);
    EXPECT_EQ(report.error().detail,
              "disks/one: byte 12582912 was written, but the service has nothing there");
}

TEST_F(BadService, EveryByteIsReadBackIfThatIsAskedFor) {
    const auto report = upload(true);
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_EQ(report->written.sha256, sha256(image_.bytes()));
    service_.damages = 36 * mib;
    const auto damaged = upload(true);
    ASSERT_FALSE(damaged);
    EXPECT_EQ(damaged.error().code, Errc::restore_mismatch);
    EXPECT_EQ(damaged.error().detail, "disks/one: byte 37748736 differs from the point");
}

TEST_F(BadService, AFewWritesAreReadBackInAnyCase) {
    image_ = FlatImage(FlatImage::holed(5, 16 * mib));
    SlowService small(clock_, 16 * mib + vhd_footer_bytes);
    small.damages = 12 * mib;
    const auto report =
        write_page_blob(image_, {small, clock_, *random_}, {.blob = {}, .existing = true}, {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().detail, "/: byte 12582912 was read back with other bytes");
}

// A real client and the strict fake.
class PageBlobOfTheFake : public testing::Test {
protected:
    PageBlobOfTheFake() {
        vault_ = *blob::make_azure_factory(options_of(), *clock_, *random_);
        const auto created = blob::create_containers_and_wait(*vault_->make());
        CW_ASSERT(created.has_value());
        pages_ = *blob::make_page_blob_store(options_of(), *clock_, *random_);
        options_.blob = {"data", "one"};
        options_.retry.pause_first_ns = options_.retry.pause_most_ns = ns_per_ms;
        fake_.reset_stats();
    }
    blob::AzureOptions options_of() const {
        blob::AzureOptions options;
        options.url = fake_.url();
        options.auth = blob::AzureAuth::shared_key;
        options.secret = Secret<std::string>(fake_azure::test_key);
        return options;
    }
    Result<PageBlobReport> upload() {
        return write_page_blob(image_, {*pages_, *clock_, *random_}, options_, {});
    }
    ByteVector stored() {
        const auto store = vault_->make();
        std::optional<Result<blob::GetResult>> result;
        store->get({.name = {blob::Container::data, "one"}, .length = 32 * mib},
                   [&](Result<blob::GetResult> got) { result.emplace(std::move(got)); });
        while (!result) {
            store->wait(100 * ns_per_ms, -1);
            store->poll();
        }
        CW_ASSERT(result->has_value());
        return std::move((*result)->bytes);
    }
    void expect_whole() {
        const ByteVector bytes = stored();
        ASSERT_EQ(bytes.size(), image_.bytes().size() + vhd_footer_bytes);
        EXPECT_TRUE(std::ranges::equal(Bytes(bytes).first(image_.bytes().size()), image_.bytes()));
    }

    fake_azure::FakeAzure fake_{{}};
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::unique_ptr<Random> random_ = make_system_random();
    std::unique_ptr<blob::StoreFactory> vault_;
    std::unique_ptr<blob::PageBlobStore> pages_;
    FlatImage image_{FlatImage::holed(7)};
    PageBlobOptions options_;
};

TEST_F(PageBlobOfTheFake, OutlivesWhateverTheServiceDoesForAWhile) {
    for (const Action action : {Action::throttle, Action::timeout, Action::timeout_applied,
                                Action::drop, Action::drop_applied, Action::middlebox}) {
        fake_.faults().replace(
            {{.op = "put_page", .action = action, .count = 50, .skip = 2, .retry_after_s = 0}});
        options_.force = true;
        const auto report = upload();
        ASSERT_TRUE(report) << static_cast<int>(action) << " " << to_string(report.error());
        expect_whole();
    }
}

TEST_F(PageBlobOfTheFake, IsNotAskedForWhatARetryAfterForbids) {
    fake_.faults().replace(
        {{.op = "put_page", .action = Action::throttle, .count = 4, .retry_after_s = 2}});
    const Nanos begun = clock_->boot();
    ASSERT_TRUE(upload());
    EXPECT_GE(clock_->boot() - begun, 2 * ns_per_s);
    expect_whole();
}

// Managed disks: made by somebody else, written through a SAS, without checksums in the requests.
class ManagedDisk : public PageBlobOfTheFake {
protected:
    ManagedDisk() {
        std::optional<blob::PutResult> made;
        pages_->create({options_.blob, image_.size_bytes() + vhd_footer_bytes, 0, false},
                       [&](blob::PutResult result) { made.emplace(std::move(result)); });
        while (!made) {
            pages_->wait(100 * ns_per_ms);
            pages_->poll();
        }
        options_.existing = true;
        use_sas("rw");
    }
    void use_sas(const std::string& rights) {
        const auto upload =
            blob::parse_disk_upload(fake_.url() + "/data/one?" + fake_.account_sas(rights));
        CW_ASSERT(upload.has_value());
        blob::AzureOptions options;
        options.crc64 = false;
        pages_ = *blob::make_disk_upload_store(*upload, std::move(options), *clock_, *random_);
        options_.blob = upload->blob;
        fake_.reset_stats();
    }
};

TEST_F(ManagedDisk, IsClearedOnlyWhereSomethingIs) {
    const auto report = upload();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_FALSE(report->unproven);
    expect_whole();
    EXPECT_EQ(fake_.stats().count("put_page"), 6U);  // Five of the disk, the footer.

    ByteVector full = image_.bytes();  // An upload after one that had data in the hole.
    make_seeded_random(9)->fill(full);
    const ByteVector holed = std::exchange(image_, FlatImage(full)).bytes();
    ASSERT_TRUE(upload());
    expect_whole();
    image_ = FlatImage(holed);
    ASSERT_TRUE(upload());
    expect_whole();
}

TEST_F(ManagedDisk, WhatTheServiceStoredWronglyIsWrittenAgain) {
    fake_.faults().replace({{.op = "put_page", .action = Action::corrupt, .count = 3}});
    const auto report = upload();
    ASSERT_TRUE(report) << to_string(report.error());
    expect_whole();
}

TEST_F(ManagedDisk, ASasThatOnlyWritesIsEnoughUnlessEverythingIsToBeVerified) {
    for (const char* op : {"get_blob", "get_page_ranges"}) {
        fake_.faults().replace({{.op = op,
                                 .action = Action::error,
                                 .status = 403,
                                 .code = "AuthorizationPermissionMismatch"}});
        options_.verify = false;
        const auto report = upload();
        ASSERT_TRUE(report) << to_string(report.error());
        ASSERT_TRUE(report->unproven);
        EXPECT_EQ(report->unproven->code, Errc::blob_denied);
        options_.verify = true;
        const auto verified = upload();
        ASSERT_FALSE(verified);
        EXPECT_EQ(verified.error().code, Errc::blob_denied);
        EXPECT_TRUE(verified.error().detail.ends_with("but cannot be verified"));
        fake_.faults().replace({});
        expect_whole();
    }
}

TEST_F(ManagedDisk, ASasWithoutTheRightToReadIsEnoughToWriteAllOfIt) {
    ByteVector full = image_.bytes();
    make_seeded_random(9)->fill(full);
    const ByteVector holed = std::exchange(image_, FlatImage(full)).bytes();
    ASSERT_TRUE(upload());
    image_ = FlatImage(holed);  // What was in its hole is cleared, though nobody can ask for it.
    use_sas("w");
    const auto report = upload();
    ASSERT_TRUE(report) << to_string(report.error());
    ASSERT_TRUE(report->unproven);
    EXPECT_EQ(report->unproven->code, Errc::blob_denied);
    expect_whole();
}

TEST_F(ManagedDisk, ASasWithoutTheRightToReadIsRefusedBeforeAnythingIsWrittenIfItIsToBeVerified) {
    use_sas("w");
    options_.verify = true;
    const auto report = upload();
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::blob_denied);
    EXPECT_NE(report.error().detail.find("the SAS lacks the right to read"), std::string::npos)
        << report.error().detail;
    EXPECT_EQ(fake_.stats().count("put_page"), 0U);
}

TEST_F(ManagedDisk, OfAnotherSizeIsRefusedAlsoWhereItCannotBeAsked) {
    use_sas("w");
    for (const auto& [bytes, found] : {std::pair{19 * mib, "more than"}, {21 * mib, "less than"}}) {
        image_ = FlatImage(FlatImage::holed(7, bytes));
        const auto report = upload();
        ASSERT_FALSE(report);
        EXPECT_EQ(report.error().code, Errc::target_unsafe);
        EXPECT_NE(report.error().detail.find(found), std::string::npos) << report.error().detail;
        EXPECT_LE(fake_.stats().count("put_page"), 3U);  // No byte of the image.
    }
}

}  // namespace
}  // namespace cw::recovery
