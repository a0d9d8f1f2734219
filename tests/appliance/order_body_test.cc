// An order that is not understood as a whole is refused as a whole.
#include "appliance/order_body.h"

#include "appliance/resync_order.h"
#include "base/ids.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using testing::HasSubstr;

constexpr OrderField name{"name", FieldKind::text, true}, often{"often", FieldKind::number},
    now{"now", FieldKind::truth};

void expect_refused(std::string_view body, const std::string& why) {
    const auto order = read_order(body, {name, often, now});
    ASSERT_FALSE(order) << body;
    EXPECT_EQ(order.error().code, Errc::usage) << body;
    EXPECT_THAT(order.error().detail, HasSubstr(why)) << body;
    EXPECT_THAT(std::string(advice_of(order.error())), HasSubstr("nothing was done")) << body;
}

TEST(OrderBody, HasItsOwnFieldsEachOfItsKind) {
    const auto order =
        read_order(R"({"name":"a","often":9223372036854775807,"now":false})", {name, often, now});
    ASSERT_TRUE(order) << to_string(order.error());
    EXPECT_EQ((*order)["often"].get<std::int64_t>(), INT64_MAX);
    EXPECT_TRUE(read_order(R"({"name":""})", {name, often, now}));
}

TEST(OrderBody, WithAnythingElseIsRefused) {
    expect_refused("{{{", "not a JSON object");
    expect_refused("[]", "not a JSON object");
    expect_refused("{}", "lacks name");
    expect_refused("", "lacks name");
    expect_refused(R"({"name":"a","oftn":1})", "no field oftn, it has name, often, now");
    expect_refused(R"({"name":1})", "name is text");
    expect_refused(R"({"name":null})", "name is text");
    expect_refused(R"({"name":"a","now":1})", "now is true or false");
    expect_refused(R"({"name":"a","now":"true"})", "now is true or false");
    for (const char* number : {"-1", "1.0", "1e99", "18446744073709551615", "9223372036854775808",
                               "\"1\"", "[1]", "123456789012345678901234567890"}) {
        expect_refused(R"({"name":"a","often":)" + std::string(number) + "}",
                       "often is a whole number");
    }
}

TEST(OrderBody, OfAnOrderWithoutFieldsIsEmpty) {
    EXPECT_TRUE(read_order("", {}));
    EXPECT_TRUE(read_order("{}", {}));
    EXPECT_FALSE(read_order("{{{", {}));
    EXPECT_THAT(read_order(R"({"file":"x"})", {}).error().detail, HasSubstr("it has no fields"));
}

class ResyncOrderTest : public testing::Test {
protected:
    Result<ResyncOrder> parse(std::string_view rest) {
        return parse_resync_order(R"({"subject":"x")" + std::string(rest) + "}", window_, clock_);
    }
    ManualClock clock_;
    ResyncWindow window_{""};
};

TEST_F(ResyncOrderTest, IsForTheTimeThatItSays) {
    EXPECT_EQ(parse(R"(,"at_us":1893456000000000)").value().at, WallMicros{1893456000000000});
    EXPECT_EQ(parse("").value().at, clock_.wall());
    EXPECT_EQ(parse(R"(,"now":true)").value().at, clock_.wall());
}

// Obeyed without its time it would compare at once: in the hours that were to be spared.
TEST_F(ResyncOrderTest, IsRefusedWithATimeThatIsNone) {
    for (const char* time : {"18446744073709551615", "9223372036854775807", "475400000000000000",
                             "1e99", "-1", "\"2030-01-01T00:00:00Z\"", "null"}) {
        const auto order = parse(R"(,"at_us":)" + std::string(time));
        ASSERT_FALSE(order) << time;
        EXPECT_EQ(order.error().code, Errc::usage) << time;
    }
    EXPECT_FALSE(parse(R"(,"at_us":1893456000000000,"now":true)"));
    EXPECT_FALSE(parse(R"(,"at":"2030-01-01T00:00:00Z")"));
}

}  // namespace
}  // namespace cw::appliance
