// What a listing may answer, and what is taken from it: others may write into the container, and a
// store that is broken, or was taken over, answers what it likes.
#include "egress/blob/directory_store.h"
#include "egress/blob/store.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace cw::blob {
namespace {

// Answers listings only: page `i` of the script, then again from the beginning.
class ScriptedLists final : public BlobStore {
public:
    explicit ScriptedLists(std::vector<ListPage> pages) : pages_(std::move(pages)) {}
    void put(PutRequest, Done<PutResult>) override { std::abort(); }
    void get(GetRequest, Done<Result<GetResult>>) override { std::abort(); }
    void head(BlobName, Done<Result<BlobProperties>>) override { std::abort(); }
    void remove(BlobName, Done<Result<void>>) override { std::abort(); }
    void create_containers(Done<Result<void>>) override { std::abort(); }
    void list(Container, std::string, std::string, Done<Result<ListPage>> done) override {
        CW_ASSERT(asked_ < 1000);  // Nobody waits for ever for what has no end.
        done(pages_[asked_++ % pages_.size()]);
    }
    std::size_t poll() override { return 0; }
    void wait(std::int64_t, int) override {}
    [[nodiscard]] std::size_t in_flight() const noexcept override { return 0; }

private:
    const std::vector<ListPage> pages_;
    std::size_t asked_ = 0;
};

std::vector<std::string> names_of(const Result<std::vector<ListPage::Entry>>& entries) {
    std::vector<std::string> names;
    for (const auto& entry : entries.value()) {
        names.push_back(entry.name);
    }
    return names;
}

TEST(Listing, WhatNobodyAskedForOrMayBeCalledSoIsPassedOver) {
    using namespace std::string_literals;
    ScriptedLists store({{.entries = {{"a/1", 1}, {"b/1", 1}, {"a", 1}, {"", 1}}, .next = "2"},
                         {.entries = {{"a/../x", 1},
                                      {"a/..", 1},
                                      {"a/\r\nx", 1},
                                      {"a/x\0y"s, 1},
                                      {"a/%00", 1},
                                      {"a/\u202egnp", 1},
                                      {"a//x", 1},
                                      {"a/UPPER", 1},
                                      {"a/" + std::string(10'000, 'n'), 1},
                                      {"a/2", 1}}}});
    EXPECT_EQ(names_of(list_all(store, Container::data, "a/")),
              (std::vector<std::string>{"a/1", "a/2"}));
}

TEST(Listing, OneThatGoesInCirclesEndsWithAnError) {
    for (const std::size_t length : {1U, 2U, 3U, 7U, 40U}) {
        std::vector<ListPage> circle(length);
        for (std::size_t i = 0; i < length; ++i) {
            circle[i].next = std::to_string(i);
        }
        ScriptedLists store(std::move(circle));
        const auto listed = list_all(store, Container::data, "");
        ASSERT_FALSE(listed) << length;
        EXPECT_EQ(listed.error().code, Errc::blob_rejected);
    }
}

TEST(Listing, OfADirectoryNamesOnlyWhatAnObjectMayBeCalled) {
    namespace fs = std::filesystem;
    const fs::path path = fs::path(testing::TempDir()) / "cw_directory_names";
    fs::remove_all(path);
    const auto clock = make_system_clock();
    const auto random = make_system_random();
    const auto factory =
        make_directory_factory({.path = path, .create = true}, *clock, *random).value();
    const auto store = factory->make();
    ASSERT_TRUE(create_containers_and_wait(*store));
    for (const std::string_view directory :
         {"a", "\r\n", "\u202egnp", "..x.", "Upper", "a/\x1b]0;x\a"}) {
        fs::create_directories(path / "data" / directory);
        std::ofstream(path / "data" / directory / "x") << "x";
        std::ofstream(path / "data" / directory / "\u202egnp") << "x";
        std::ofstream(path / "data" / directory / std::string(250, 'n')) << "x";
    }
    // Deeper than a name may be long, made step by step as a name of that length cannot be given.
    const fs::path before = fs::current_path();
    fs::current_path(path / "data" / "a");
    for (int depth = 0; depth < 50; ++depth) {
        const std::string step(200, 'd');
        fs::create_directory(step);
        fs::current_path(step);
    }
    std::ofstream("deep") << "x";
    fs::current_path(before);
    EXPECT_EQ(names_of(list_all(*store, Container::data, "")), std::vector<std::string>{"a/x"});
    fs::remove_all(path);
}

}  // namespace
}  // namespace cw::blob
