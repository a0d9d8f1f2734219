// Tokens, the limit of attempts, and the desk where certificates are given.
#include "ingest/wire/enrolment.h"

#include "appliance/enrolment/enrolment_desk.h"
#include "tests/base/tls_fixture.h"

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr std::int64_t now_s = 1'700'000'000;

class TokenBookTest : public testing::Test {
protected:
    TokenBookTest() {
        std::string pattern = testing::TempDir() + "cw_book_XXXXXX";
        CW_ASSERT(mkdtemp(pattern.data()) != nullptr);
        directory_ = pattern;
    }
    ~TokenBookTest() override { std::filesystem::remove_all(directory_); }
    TokenBook opened() {  // As after a restart.
        TokenBook book(*disk_, *random_, directory_ + "/book");
        EXPECT_TRUE(book.load());
        return book;
    }
    static Sha256 key(int i) { return sha256(as_bytes(std::to_string(i))); }
    static Errc refusal(const Result<MachineId>& result) {
        return result ? Errc::internal : result.error().code;
    }

    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::unique_ptr<Random> random_ = make_seeded_random(3);
    std::string directory_;
};

TEST_F(TokenBookTest, ATokenIsGoodForItsUsesAlsoAcrossRestarts) {
    const auto secret = opened().issue({.uses = 2}, now_s).value();
    const MachineId first = opened().redeem(secret.reveal(), key(1), {}, now_s).value();
    const MachineId second = opened().redeem(secret.reveal(), key(2), {}, now_s).value();
    EXPECT_NE(first, second);
    EXPECT_EQ(refusal(opened().redeem(secret.reveal(), key(3), {}, now_s)), Errc::token_refused);
}

TEST_F(TokenBookTest, TheSameKeySpendsNoSecondUse) {
    const auto secret = opened().issue({}, now_s).value();
    const MachineId machine = opened().redeem(secret.reveal(), key(1), {}, now_s).value();
    EXPECT_EQ(opened().redeem(secret.reveal(), key(1), {}, now_s).value(), machine);
    EXPECT_EQ(refusal(opened().redeem(secret.reveal(), key(2), {}, now_s)), Errc::token_refused);
}

TEST_F(TokenBookTest, AnExpiredUnknownOrRevokedTokenIsRefused) {
    const auto secret = opened().issue({.ttl_s = 60}, now_s).value();
    EXPECT_EQ(refusal(opened().redeem(secret.reveal(), key(1), {}, now_s + 60)),
              Errc::token_refused);
    EXPECT_EQ(refusal(opened().redeem(TokenSecret{}, key(1), {}, now_s)), Errc::token_refused);
    const std::string id = opened().list(now_s).at(0).id();
    ASSERT_TRUE(opened().revoke(id));
    EXPECT_EQ(refusal(opened().redeem(secret.reveal(), key(1), {}, now_s)), Errc::token_refused);
    EXPECT_EQ(opened().revoke(id).error().code, Errc::not_found);
}

TEST_F(TokenBookTest, ABoundTokenIsForItsMachineAlone) {
    const MachineId ours{{std::byte{1}}}, other{{std::byte{2}}};
    const auto secret = opened().issue({.machine = ours}, now_s).value();
    EXPECT_EQ(refusal(opened().redeem(secret.reveal(), key(1), other, now_s)), Errc::token_refused);
    EXPECT_EQ(opened().redeem(secret.reveal(), key(1), ours, now_s).value(), ours);
    // Nobody who is a machine already becomes another one.
    const auto any = opened().issue({}, now_s).value();
    EXPECT_EQ(refusal(opened().redeem(any.reveal(), key(2), ours, now_s)), Errc::token_refused);
    EXPECT_EQ(opened().issue({.uses = 2, .machine = ours}, now_s).error().code, Errc::usage);
}

TEST_F(TokenBookTest, TermsOutOfRangeAreRefused) {
    TokenBook book = opened();
    EXPECT_EQ(book.issue({.uses = 0}, now_s).error().code, Errc::usage);
    EXPECT_EQ(book.issue({.uses = 1001}, now_s).error().code, Errc::usage);
    EXPECT_EQ(book.issue({.ttl_s = 59}, now_s).error().code, Errc::usage);
    EXPECT_EQ(book.issue({.ttl_s = 5 * 86'400 + 1}, now_s).error().code, Errc::usage);
    for (std::size_t i = 0; i < TokenBook::tokens_max; ++i) {
        ASSERT_TRUE(book.issue({.ttl_s = 60}, now_s));
    }
    EXPECT_EQ(book.issue({}, now_s).error().code, Errc::usage);
    EXPECT_TRUE(book.issue({}, now_s + 60)) << "those whose time is over make room";
}

TEST_F(TokenBookTest, NothingInTheFileLetsAnybodyIn) {
    const auto secret = opened().issue({}, now_s).value();
    const auto bytes = read_file(*disk_, directory_ + "/book", mib).value();
    EXPECT_EQ(as_text(bytes).find(to_hex(secret.reveal())), std::string_view::npos);
    const Sha256 plain = sha256(secret.reveal());
    EXPECT_EQ(as_text(bytes).find(to_hex(plain)), std::string_view::npos);
}

TEST_F(TokenBookTest, ADamagedFileIsNotBelieved) {
    opened().issue({}, now_s).value();
    const std::string path = directory_ + "/book";
    const auto bytes = read_file(*disk_, path, mib).value();
    const std::string good(as_text(bytes));
    EXPECT_EQ(format_token_book(parse_token_book(good).value()), good);
    for (const std::string& bad :
         {std::string("causeway enrolment tokens 2\n"), good + "x\n", good.substr(0, 60),
          good + good.substr(good.find('\n') + 1, 20) + "\n"}) {
        EXPECT_EQ(parse_token_book(bad).error().code, Errc::config_invalid) << bad;
    }
    ASSERT_TRUE(write_file_atomically(*disk_, path, as_bytes("nonsense")));
    TokenBook book(*disk_, *random_, path);
    EXPECT_EQ(book.load().error().code, Errc::config_invalid);
}

TEST(AttemptLimitTest, H7AnAddressThatIsWrongTooOftenIsLockedOutAndNoOther) {
    ManualClock clock;
    AttemptLimit limit(clock);
    for (int i = 0; i < AttemptLimit::failures_max; ++i) {
        ASSERT_TRUE(limit.admit("bad"));
        limit.failed("bad");
    }
    EXPECT_FALSE(limit.admit("bad"));
    EXPECT_TRUE(limit.admit("good"));
    EXPECT_TRUE(limit.turning_away());
    clock.advance(AttemptLimit::lock_ns - 1);
    EXPECT_FALSE(limit.admit("bad"));
    clock.advance(1);
    EXPECT_TRUE(limit.admit("bad"));
    clock.advance(AttemptLimit::lock_ns);
    EXPECT_FALSE(limit.turning_away());
}

TEST(AttemptLimitTest, H7OneAddressCannotSpendWhatOthersMay) {
    ManualClock clock;
    AttemptLimit limit(clock);
    int admitted = 0;
    for (int i = 0; i < 10'000; ++i) {
        admitted += limit.admit("flood") ? 1 : 0;
    }
    EXPECT_EQ(admitted, static_cast<int>(AttemptLimit::burst));
    EXPECT_TRUE(limit.admit("other"));
    clock.advance(3 * ns_per_s);
    EXPECT_TRUE(limit.admit("flood"));
}

TEST(AttemptLimitTest, H7ManyAddressesTogetherAreHeldToo) {
    ManualClock clock;
    AttemptLimit limit(clock);
    int admitted = 0;
    for (std::size_t i = 0; i < 3 * AttemptLimit::addresses_max; ++i) {
        admitted += limit.admit(std::to_string(i)) ? 1 : 0;
    }
    EXPECT_EQ(admitted, static_cast<int>(AttemptLimit::burst_of_all));
}

class EnrolmentDeskTest : public TlsTest {
protected:
    void SetUp() override {
        std::filesystem::remove(directory_ + "/book");
        auto desk = EnrolmentDesk::open(options(), {*disk_, clock_, *random_, conditions_});
        ASSERT_TRUE(desk) << to_string(desk.error());
        desk_ = std::move(*desk);
        csr_ = request_certificate(directory_ + "/desk.key").value();
    }
    static EnrolmentOptions options() {
        return {.book_path = directory_ + "/book",
                .ca_directory = directory_ + "/ca",
                .tls = files("server"),
                .valid_s = one_day_s,
                .replication_port = 9443};
    }
    // The secret's digits of a new token.
    std::string token(const char* terms = "{}") {
        const json answer = json::parse(desk_->issue(terms).value());
        return to_hex(parse_token(answer["token"].get<std::string>())->secret.reveal());
    }
    Result<wire::EnrolAnswer> enrol(const std::string& token_digits,
                                    std::optional<Identity> peer = {}) {
        wire::EnrolRequest request;
        request.token = Secret(std::string(token_digits));
        request.csr = csr_;
        request.name = name_;
        const auto answer = desk_->enrol({"192.0.2.1", peer, encode(request).reveal()});
        if (!answer) {
            return std::unexpected(answer.error());
        }
        return wire::parse_enrol_answer(*answer);
    }
    // What the given certificate says, as a server would read it.
    Identity shown(const std::string& certificate) {
        CW_ASSERT(write_file_atomically(*disk_, directory_ + "/desk.crt", as_bytes(certificate)));
        CW_ASSERT(handshake(files("desk"), files("server")).server);
        return peer_identity(server_.get()).value();
    }

    ManualClock clock_;
    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::unique_ptr<Random> random_ = make_seeded_random(5);
    Conditions conditions_{clock_};
    std::unique_ptr<EnrolmentDesk> desk_;
    std::string csr_, name_ = "web1";
};

TEST_F(EnrolmentDeskTest, ATokenBecomesACertificateThatTheServerAccepts) {
    const auto answer = enrol(token());
    ASSERT_TRUE(answer) << to_string(answer.error());
    EXPECT_EQ(shown(answer->certificate), (Identity{Role::machine, answer->machine.bytes}));
    EXPECT_EQ(answer->replication_port, 9443);
    const auto ca = read_file(*disk_, directory_ + "/ca/ca.crt", mib).value();
    EXPECT_EQ(answer->authorities, as_text(ca));
}

TEST_F(EnrolmentDeskTest, WrongTokensAreRefusedWithAnEventAndThenTheAddressIsLockedOut) {
    const std::string good = token();
    for (int i = 0; i < AttemptLimit::failures_max; ++i) {
        EXPECT_EQ(enrol(std::string(40, 'a')).error().code, Errc::token_refused);
    }
    EXPECT_EQ(enrol(good).error().code, Errc::server_busy);
    EXPECT_TRUE(conditions_.standing(Errc::server_busy));
    EXPECT_FALSE(conditions_.standing(Errc::token_refused));
    int events = 0;
    for (const ConditionEvent& event : conditions_.events(100)) {
        events += event.raised && event.condition.code == Errc::token_refused ? 1 : 0;
    }
    EXPECT_EQ(events, AttemptLimit::failures_max);
    clock_.advance(AttemptLimit::lock_ns);
    desk_->tick();
    EXPECT_FALSE(conditions_.standing(Errc::server_busy));
    EXPECT_TRUE(enrol(good));
}

TEST_F(EnrolmentDeskTest, WithoutATokenOnlyAMachineRenewsAndStaysWhoItIs) {
    const Identity machine = identity_of(Role::machine);
    const auto renewed = enrol("", machine);
    ASSERT_TRUE(renewed) << to_string(renewed.error());
    EXPECT_EQ(shown(renewed->certificate), machine);
    EXPECT_EQ(enrol("", identity_of(Role::operator_)).error().code, Errc::identity_refused);
    EXPECT_EQ(enrol("").error().code, Errc::token_refused);
}

TEST_F(EnrolmentDeskTest, WhatCannotBeSignedSpendsNoUse) {
    const std::string good = token();
    const std::string sound = csr_;
    csr_ = "nonsense";
    EXPECT_EQ(enrol(good).error().code, Errc::usage);
    csr_ = sound;
    for (const std::string& name :
         {std::string("line\nbreak"), std::string("\xe2\x80\xaegnp"), std::string(10'000, 'n')}) {
        name_ = name;
        EXPECT_EQ(enrol(good).error().code, Errc::usage);
    }
    name_ = "../../etc/passwd";  // Only shown, never a path.
    EXPECT_TRUE(enrol(good));
}

TEST_F(EnrolmentDeskTest, ATokenNamesTheCaAndKeepsItsSecretFromTheList) {
    const json issued = json::parse(desk_->issue(R"({"uses":3,"ttl_s":600})").value());
    const auto parsed = parse_token(issued["token"].get<std::string>());
    const openssl::Certificate ca(
        PEM_read_bio_X509(open_pem("/ca/ca.crt").get(), nullptr, nullptr, nullptr));
    unsigned char* der = nullptr;
    const int size = i2d_X509(ca.get(), &der);
    EXPECT_EQ(parsed->authority,
              sha256({reinterpret_cast<std::byte*>(der), static_cast<std::size_t>(size)}));
    OPENSSL_free(der);
    const std::string list = desk_->list();
    EXPECT_EQ(list.find(to_hex(parsed->secret.reveal())), std::string::npos);
    EXPECT_EQ(json::parse(list).at(0)["uses"], 3);
    EXPECT_EQ(desk_->issue("[]").error().code, Errc::usage);
    EXPECT_EQ(desk_->issue(R"({"role":"operator"})").error().code, Errc::usage);
    EXPECT_EQ(desk_->issue(R"({"machine":"../../etc"})").error().code, Errc::usage);
    EXPECT_EQ(desk_->revoke("{}").error().code, Errc::usage);
}

TEST_F(EnrolmentDeskTest, ACaThatNobodyTrustsIsNotUsed) {
    EnrolmentOptions wrong = options();
    wrong.ca_directory = directory_ + "/other";
    EXPECT_EQ(EnrolmentDesk::open(wrong, {*disk_, clock_, *random_, conditions_}).error().code,
              Errc::config_invalid);
}

}  // namespace
}  // namespace cw::appliance
