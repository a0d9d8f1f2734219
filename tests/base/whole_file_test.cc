// Small files that are made once: no name ever goes from one to another.
#include "base/whole_file.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw {
namespace {

class WholeFile : public ::testing::Test {
protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "causeway-whole.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }
    Result<void> make(const std::string& name, std::string_view text) {
        return create_file_atomically(*disk_, *random_, path(name), std::as_bytes(std::span(text)),
                                      0400);
    }
    std::string read(const std::string& name) {
        const auto bytes = read_file(*disk_, path(name), 100);
        return bytes ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size())
                     : "none";
    }

    std::string directory_;
    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::unique_ptr<Random> random_ = make_seeded_random(1);
};

TEST_F(WholeFile, ANameThatIsTakenIsNeverGivenToAnother) {
    ASSERT_TRUE(make("a", "one"));
    ASSERT_TRUE(make("b", "two"));
    for (const char* to : {"b", "a"}) {  // A file's own name is taken, too.
        const auto given = give_free_name(*disk_, path("a"), path(to));
        ASSERT_FALSE(given);
        EXPECT_EQ(given.error().code, Errc::file_exists);
    }
    EXPECT_EQ(make("b", "three").error().code, Errc::file_exists);
    EXPECT_EQ(read("a"), "one");
    EXPECT_EQ(read("b"), "two");
    ASSERT_TRUE(give_free_name(*disk_, path("a"), path("c")));
    EXPECT_EQ(read("a"), "none");
    EXPECT_EQ(read("c"), "one");
}

TEST_F(WholeFile, WhatWasCutShortOfAFamilyOfNamesGoesAndNothingElse) {
    for (const char* name :
         {"kek.until-1", "kek.until-1.0123456789abcdef.new", "kek.until-2.fedcba9876543210.new",
          "kek.until-3.new", "kek.next.0123456789abcdef.new", "kek.until-4.0123456789abcdeg.new"}) {
        ASSERT_TRUE(make(name, "key"));
    }
    remove_left_overs(*disk_, path("kek.until-"));
    EXPECT_EQ(read("kek.until-1"), "key");
    EXPECT_EQ(read("kek.until-1.0123456789abcdef.new"), "none");
    EXPECT_EQ(read("kek.until-2.fedcba9876543210.new"), "none");
    EXPECT_EQ(read("kek.until-3.new"), "key");
    EXPECT_EQ(read("kek.next.0123456789abcdef.new"), "key");
    EXPECT_EQ(read("kek.until-4.0123456789abcdeg.new"), "key");
}

}  // namespace
}  // namespace cw
