#include "base/error.h"

#include <cerrno>
#include <set>

#include <gtest/gtest.h>

namespace cw {
namespace {

constexpr Errc all_codes[] = {
#define CW_ERROR(code, number, action, klass, text, next) Errc::code,
#include "base/errors.def"
#undef CW_ERROR
};

TEST(Errors, EveryRowIsCompleteAndUnique) {
    std::set<std::string_view> names;
    std::set<unsigned> numbers;
    for (const Errc code : all_codes) {
        EXPECT_TRUE(names.insert(name_of(code)).second) << name_of(code);
        EXPECT_TRUE(numbers.insert(static_cast<unsigned>(code)).second) << name_of(code);
        EXPECT_FALSE(cause_of(code).empty()) << name_of(code);
        EXPECT_FALSE(next_of(code).empty()) << name_of(code);
        EXPECT_NE(name_of(action_of(code)), "unknown");
    }
}

TEST(Errors, WhatIsRetriedIsRecoverable) {
    for (const Errc code : all_codes) {
        const Action action = action_of(code);
        if (action == Action::retry || action == Action::throttle) {
            EXPECT_EQ(class_of(code), ErrorClass::recoverable) << name_of(code);
        }
    }
}

TEST(Errors, GiveTheirOwnAdviceInsteadOfTheirCodes) {
    Error error{Errc::io_error, "read of /dev/sdb"};
    EXPECT_EQ(advice_of(error), next_of(Errc::io_error));
    error.next = "attach the disk again";
    EXPECT_EQ(advice_of(error), "attach the disk again");
    EXPECT_TRUE(to_string(error).ends_with("; next: attach the disk again"));
}

TEST(Errors, PrintCodeNumberCauseEvidenceAndNextStepInOneLine) {
    const std::string text = to_string(Error{Errc::io_error, "read of /dev/sdb"});
    EXPECT_EQ(text.find('\n'), std::string::npos);
    EXPECT_TRUE(text.starts_with("IO_ERROR (1001): "));
    EXPECT_NE(text.find(": read of /dev/sdb; next: check the device"), std::string::npos);
}

Result<int> half(int value) {
    if (value % 2 != 0) {
        return fail(Errc::usage, "odd");
    }
    return value / 2;
}
Result<int> quarter(int value) {
    CW_TRY(half(value));
    CW_TRY_ASSIGN(const int once, half(value));
    return half(once);
}

TEST(Result, CarriesTheErrorToTheCaller) {
    EXPECT_EQ(quarter(8).value(), 2);
    EXPECT_EQ(quarter(6).error().detail, "odd");
    EXPECT_EQ(quarter(5).error().code, Errc::usage);
    const auto failed = fail_errno(Errc::io_error, "open", ENOENT);
    EXPECT_EQ(failed.error().detail, "open: No such file or directory");
}

}  // namespace
}  // namespace cw
