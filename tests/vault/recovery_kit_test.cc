// The key on paper.
#include "egress/vault/recovery_kit.h"

#include "base/random.h"
#include "egress/vault/keys.h"

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

Secret<Key256> some_key() {
    Key256 key;
    make_seeded_random(11)->fill(key);
    return Secret(key);
}

std::string kit() {
    return "CAUSEWAY RECOVERY KIT\n\n" + kit_lines(some_key()).reveal() + "\nKeep it safe.\n";
}

TEST(RecoveryKit, IsTheKeyAgainWhenTyped) {
    EXPECT_EQ(parse_kek_text(kit())->reveal(), some_key().reveal());
    std::string typed = kit();
    for (std::size_t at = typed.find("  check"); at != std::string::npos;
         at = typed.find("  check", at + 1)) {
        typed.replace(at, 2, "\t ");
    }
    EXPECT_EQ(parse_kek_text(typed)->reveal(), some_key().reveal());
    EXPECT_EQ(parse_kek_text(" " + to_hex(some_key().reveal()) + "\r\n")->reveal(),
              some_key().reveal());
}

TEST(RecoveryKit, F9_EverySlipOfOneDigitIsSeenAndItsLineNamed) {
    // "key 1  0123 4567 89ab cdef  check 0f1e"
    constexpr std::string_view form = "key _  xxxx xxxx xxxx xxxx  check xxxx\n";
    const std::string lines = kit_lines(some_key()).reveal();
    ASSERT_EQ(lines.size(), 4 * form.size());
    for (std::size_t at = 0; at < lines.size(); ++at) {
        if (form[at % form.size()] != 'x') {
            continue;
        }
        std::string slip = lines;
        slip[at] = lines[at] == '0' ? '1' : '0';
        const auto key = parse_kek_text(slip);
        ASSERT_FALSE(key) << slip;
        EXPECT_EQ(key.error().code, Errc::key_unavailable);
        const std::string line = "'key " + std::to_string(at / form.size() + 1) + "'";
        EXPECT_NE(key.error().detail.find(line), std::string::npos) << key.error().detail;
    }
}

TEST(RecoveryKit, MissingAndExchangedLinesAreSeen) {
    const std::string lines = kit_lines(some_key()).reveal();
    const std::size_t length = lines.size() / 4;
    EXPECT_EQ(parse_kek_text(lines.substr(length)).error().code, Errc::key_unavailable);
    std::string exchanged =
        lines.substr(length, length) + lines.substr(0, length) + lines.substr(2 * length);
    exchanged[4] = '1';
    exchanged[length + 4] = '2';
    EXPECT_EQ(parse_kek_text(exchanged).error().code, Errc::key_unavailable);
    EXPECT_EQ(parse_kek_text("check").error().code, Errc::key_unavailable);
    EXPECT_EQ(parse_kek_text("").error().code, Errc::key_unavailable);
}

}  // namespace
}  // namespace cw::vault
