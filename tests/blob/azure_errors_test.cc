// Every row of the error table, through real requests; and answers nobody should believe.
#include "egress/blob/credential_gate.h"
#include "tests/blob/azure_fixture.h"

#include <array>

namespace cw::blob {
namespace {

using fake_azure::Action;
using fake_azure::FaultRule;

struct Expected {
    int status;
    std::string_view code;
    Errc errc;
    PutOutcome outcome;
};

constexpr auto refused = PutOutcome::refused;
constexpr auto unknown = PutOutcome::unknown;

constexpr std::array table{
    Expected{503, "ServerBusy", Errc::blob_throttled, refused},
    Expected{503, "", Errc::blob_throttled, refused},
    Expected{429, "TooManyRequests", Errc::blob_throttled, refused},
    Expected{500, "OperationTimedOut", Errc::blob_unavailable, unknown},
    Expected{500, "InternalError", Errc::blob_unavailable, unknown},
    Expected{500, "", Errc::blob_unavailable, unknown},
    Expected{502, "", Errc::blob_unavailable, unknown},
    Expected{504, "", Errc::blob_unavailable, unknown},
    Expected{408, "", Errc::blob_unavailable, unknown},
    Expected{500, "FeatureNotSupported", Errc::blob_rejected, refused},
    Expected{501, "APINotImplemented", Errc::blob_rejected, refused},
    Expected{401, "InvalidAuthenticationInfo", Errc::blob_auth, refused},
    Expected{401, "NoAuthenticationInformation", Errc::blob_auth, refused},
    Expected{401, "ExpiredToken", Errc::blob_auth, refused},
    Expected{403, "AuthenticationFailed", Errc::blob_auth, refused},
    Expected{403, "AuthorizationFailure", Errc::blob_denied, refused},
    Expected{403, "AuthorizationPermissionMismatch", Errc::blob_denied, refused},
    Expected{403, "AuthorizationResourceTypeMismatch", Errc::blob_denied, refused},
    Expected{403, "AuthorizationProtocolMismatch", Errc::blob_denied, refused},
    Expected{403, "AccountIsDisabled", Errc::blob_denied, refused},
    Expected{403, "InsufficientAccountPermissions", Errc::blob_denied, refused},
    Expected{403, "SomethingNew", Errc::blob_denied, refused},
    Expected{400, "Md5Mismatch", Errc::blob_checksum, refused},
    Expected{400, "Crc64Mismatch", Errc::blob_checksum, refused},
    Expected{409, "BlobAlreadyExists", Errc::blob_conflict, refused},
    Expected{412, "ConditionNotMet", Errc::blob_conflict, refused},
    Expected{412, "TargetConditionNotMet", Errc::blob_conflict, refused},
    Expected{409, "PendingCopyOperation", Errc::blob_unavailable, refused},
    Expected{409, "LeaseAlreadyPresent", Errc::blob_leased, refused},
    Expected{409, "LeaseIdMismatchWithLeaseOperation", Errc::blob_leased, refused},
    Expected{412, "LeaseIdMissing", Errc::blob_leased, refused},
    Expected{412, "LeaseIdMismatchWithBlobOperation", Errc::blob_leased, refused},
    Expected{412, "LeaseNotPresentWithBlobOperation", Errc::blob_leased, refused},
    Expected{412, "LeaseLost", Errc::blob_leased, refused},
    Expected{412, "SequenceNumberConditionNotMet", Errc::fenced, refused},
    Expected{412, "AppendPositionConditionNotMet", Errc::fenced, refused},
    Expected{404, "ContainerNotFound", Errc::vault_missing, refused},
    Expected{409, "ContainerBeingDeleted", Errc::vault_missing, refused},
    Expected{404, "AccountNotFound", Errc::vault_missing, refused},
    Expected{404, "ResourceNotFound", Errc::vault_missing, refused},
    Expected{404, "BlobNotFound", Errc::blob_not_found, refused},
    Expected{404, "", Errc::blob_unavailable, refused},
    Expected{409, "BlobImmutableDueToPolicy", Errc::blob_immutable, refused},
    Expected{409, "BlobImmutableDueToLegalHold", Errc::blob_immutable, refused},
    Expected{409, "BlobArchived", Errc::blob_offline, refused},
    Expected{409, "BlobBeingRehydrated", Errc::blob_offline, refused},
    Expected{409, "SnapshotsPresent", Errc::blob_rejected, refused},
    Expected{409, "InvalidBlobType", Errc::blob_rejected, refused},
    Expected{411, "MissingContentLengthHeader", Errc::blob_rejected, refused},
    Expected{413, "RequestBodyTooLarge", Errc::blob_rejected, refused},
    Expected{400, "InvalidHeaderValue", Errc::blob_rejected, refused},
    Expected{400, "", Errc::blob_rejected, refused},
    Expected{301, "", Errc::blob_unavailable, unknown},
    Expected{200, "", Errc::blob_unavailable, unknown},
};

class AzureErrors : public AzureTest {
protected:
    std::unique_ptr<BlobStore> store_ = ready(shared_key());

    void expect_put(const std::string& what, Errc errc, PutOutcome outcome) {
        const PutResult result = put_and_wait(*store_, put_of("x", "body"));
        EXPECT_EQ(static_cast<int>(result.outcome), static_cast<int>(outcome)) << what;
        ASSERT_TRUE(result.error) << what;
        EXPECT_EQ(name_of(result.error->code), name_of(errc)) << what;
    }
    template <typename T>
    static void expect_error(const std::string& what, const Result<T>& result, Errc errc) {
        ASSERT_FALSE(result) << what;
        EXPECT_EQ(name_of(result.error().code), name_of(errc)) << what;
    }
};

TEST_F(AzureErrors, EveryRowOfTheTableMeansTheSameForEveryOperation) {
    // Each is asked anew, although the credential was refused.
    const auto next = [this]() -> BlobStore& {
        clock_.advance(credential_probe_ns);
        return *store_;
    };
    for (const Expected& row : table) {
        const std::string what = std::to_string(row.status) + " " + std::string(row.code);
        fault({.action = Action::error, .status = row.status, .code = std::string(row.code)});
        next();
        expect_put("put " + what, row.errc, row.outcome);
        if (row.status != 200) {  // For a list a 200 is the status asked for; its body is not.
            expect_error("head " + what, head_and_wait(next(), {Container::data, "x"}), row.errc);
        }
        expect_error("get " + what, get_and_wait(next(), {.name = {Container::data, "x"}}),
                     row.errc);
        expect_error("list " + what, list_all(next(), Container::data, ""), row.errc);
        if (row.errc != Errc::blob_not_found) {
            expect_error("remove " + what, remove_and_wait(next(), {Container::data, "x"}),
                         row.errc);
        }
    }
}

TEST_F(AzureErrors, AnswersOfAProxyAreNeverTakenForTheService) {
    // A 404 page must not end a manifest chain, a 409 page must not look like a lost race.
    for (const int status : {200, 201, 202, 206, 301, 400, 401, 403, 404, 409, 412, 500}) {
        const std::string what = std::to_string(status);
        fault({.action = Action::middlebox, .status = status});
        expect_put(what, Errc::blob_unavailable, unknown);
        expect_error(what, head_and_wait(*store_, {Container::data, "x"}), Errc::blob_unavailable);
        expect_error(what, get_and_wait(*store_, {.name = {Container::data, "x"}}),
                     Errc::blob_unavailable);
        expect_error(what, list_all(*store_, Container::data, ""), Errc::blob_unavailable);
        expect_error(what, remove_and_wait(*store_, {Container::data, "x"}),
                     Errc::blob_unavailable);
    }
    fault({.action = Action::garbage});
    expect_put("garbage", Errc::blob_unavailable, unknown);
}

TEST_F(AzureErrors, TimeoutThatWasAppliedIsUnknownAndTheObjectIsThere) {
    fault({.op = "put_blob", .action = Action::timeout_applied});
    expect_put("applied", Errc::blob_unavailable, unknown);
    EXPECT_TRUE(head_and_wait(*store_, {Container::data, "x"}));
}

TEST_F(AzureErrors, TimeoutThatIsAppliedLaterIsUnknownAndTheObjectComes) {
    fault({.op = "put_blob", .action = Action::timeout_late, .delay_ms = 60'000});
    expect_put("late", Errc::blob_unavailable, unknown);
    expect_error("late", head_and_wait(*store_, {Container::data, "x"}), Errc::blob_not_found);
    fake_.advance(61 * ns_per_s);
    EXPECT_TRUE(head_and_wait(*store_, {Container::data, "x"}));
}

TEST_F(AzureErrors, LostConnectionsLeaveThePutInDoubt) {
    for (const Action action : {Action::drop, Action::drop_applied}) {
        fault({.op = "put_blob", .action = action});
        expect_put("drop", Errc::blob_unavailable, unknown);
        fake_.clear();
        ASSERT_TRUE(create_containers_and_wait(*store_));
    }
}

TEST_F(AzureErrors, ConnectionResetInTheMiddleOfTheBodyIsInDoubt) {
    fault({.op = "put_blob", .action = Action::reset_mid_body});
    const ByteVector body(8 << 20);
    const PutResult result =
        put_and_wait(*store_, {.name = {Container::data, "x"}, .body = {Bytes(body)}});
    EXPECT_EQ(result.outcome, unknown);
    expect_error("after", head_and_wait(*store_, {Container::data, "x"}), Errc::blob_not_found);
}

TEST_F(AzureErrors, TruncatedReplyIsUnreadableNotShort) {
    const std::string body(100'000, 'b');
    ASSERT_EQ(put_and_wait(*store_, put_of("x", body)).outcome, PutOutcome::stored);
    fault({.op = "get_blob", .action = Action::truncate});
    expect_error("get", get_and_wait(*store_, {.name = {Container::data, "x"}}),
                 Errc::blob_unavailable);
}

TEST_F(AzureErrors, BytesChangedOnTheWayInAreNoticed) {
    fault({.op = "put_blob", .action = Action::corrupt});
    expect_put("corrupt", Errc::object_corrupt, refused);
}

TEST_F(AzureErrors, BytesChangedOnTheWayOutAreNoticed) {
    ASSERT_EQ(put_and_wait(*store_, put_of("x", "0123456789")).outcome, PutOutcome::stored);
    fault({.op = "get_blob", .action = Action::corrupt});
    expect_error("get",
                 get_and_wait(*store_, {.name = {Container::data, "x"}, .offset = 2, .length = 5}),
                 Errc::blob_checksum);
}

TEST_F(AzureErrors, NothingListeningIsARefusalNotADoubt) {
    AzureOptions options = shared_key();
    {
        fake_azure::FakeAzure gone({});
        options.url = gone.url();
    }
    const auto store = open(std::move(options));
    const PutResult result = put_and_wait(*store, put_of("x", "y"));
    EXPECT_EQ(result.outcome, refused);
    EXPECT_EQ(name_of(result.error->code), name_of(Errc::blob_unavailable));
}

TEST_F(AzureErrors, D10_AnAccountThatNobodyKnowsIsToldFromOneThatDoesNotAnswer) {
    AzureOptions options = shared_key();
    // Too long for a label: refused by the resolver at once, without asking anybody.
    options.url = "https://account." + std::string(64, 'x') + ".invalid/site";
    const auto store = open(std::move(options));
    const PutResult result = put_and_wait(*store, put_of("x", "y"));
    EXPECT_EQ(result.outcome, refused);
    EXPECT_EQ(name_of(result.error->code), name_of(Errc::blob_unavailable));
    EXPECT_NE(result.error->detail.find("its name is not known"), std::string::npos)
        << result.error->detail;
}

TEST_F(AzureErrors, D14_RetentionLockRefusesOverwriteAndRemoval) {
    ASSERT_EQ(put_and_wait(*store_, put_of("x", "locked")).outcome, PutOutcome::stored);
    fake_.set_worm("data", 3600);
    expect_error("remove", remove_and_wait(*store_, {Container::data, "x"}), Errc::blob_immutable);
    PutRequest overwrite = put_of("x", "changed");
    overwrite.condition = PutCondition::none;
    const PutResult result = put_and_wait(*store_, std::move(overwrite));
    EXPECT_EQ(result.outcome, refused);
    EXPECT_EQ(name_of(result.error->code), name_of(Errc::blob_immutable));
    fake_.advance(3601 * ns_per_s);
    clock_.set_wall_error(3601LL * 1'000'000);
    EXPECT_TRUE(remove_and_wait(*store_, {Container::data, "x"}));
}

TEST_F(AzureErrors, ServersSilenceEndsByLackOfProgress) {
    for (const Action action : {Action::hang, Action::hang_applied}) {
        fault({.op = "put_blob", .action = action});
        std::optional<PutResult> result;
        store_->put(put_of("x", "y"), [&](PutResult r) { result = std::move(r); });
        for (int i = 0; i < 100; ++i) {  // Half a second is not long enough to give up.
            store_->wait(5 * ns_per_ms, -1);
            store_->poll();
        }
        EXPECT_FALSE(result);
        clock_.advance(61 * ns_per_s);
        for (int i = 0; i < 1000 && !result; ++i) {
            store_->wait(5 * ns_per_ms, -1);
            store_->poll();
        }
        ASSERT_TRUE(result);
        EXPECT_EQ(result->outcome, unknown);
    }
}

TEST_F(AzureErrors, RetryAfterHoldsBackEveryRequest) {
    fault({.action = Action::throttle, .count = 1, .retry_after_s = 7});
    expect_put("throttle", Errc::blob_throttled, refused);
    std::optional<PutResult> result;
    store_->put(put_of("x", "y"), [&](PutResult r) { result = std::move(r); });
    for (int i = 0; i < 20; ++i) {
        store_->wait(5 * ns_per_ms, -1);
        store_->poll();
    }
    EXPECT_EQ(fake_.stats().count("*"), 1U);
    clock_.advance(7 * ns_per_s);
    for (int i = 0; i < 1000 && !result; ++i) {
        store_->wait(5 * ns_per_ms, -1);
        store_->poll();
    }
    ASSERT_TRUE(result);
    EXPECT_EQ(result->outcome, PutOutcome::stored);
}

TEST_F(AzureErrors, ConnectionsAreReused) {
    for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(put_and_wait(*store_, put_of("c/" + std::to_string(i), "y")).outcome,
                  PutOutcome::stored);
    }
    EXPECT_EQ(fake_.stats().connections, 0U);  // The one made by ready() served all.
}

}  // namespace
}  // namespace cw::blob
