// The contract of BlobStore, as tests: run against every implementation (see rig.h).
#include "tests/blob/contract.h"

#include "base/checksum.h"
#include "base/random.h"

#include <algorithm>
#include <set>

namespace cw::blob {
namespace {

TEST_P(Contract, GetReturnsWhatWasPutWithItsMetadata) {
    const std::string etag = must_put(data("a/b-1.seg"), "hello world");
    const auto got = get_and_wait(*store_, {.name = data("a/b-1.seg")});
    ASSERT_TRUE(got) << to_string(got.error());
    EXPECT_EQ(as_text(got->bytes), "hello world");
    EXPECT_EQ(got->properties.size, 11U);
    EXPECT_EQ(got->properties.etag, etag);
    EXPECT_EQ(got->properties.metadata, (Metadata{{"nonce", "n1"}}));
}

TEST_P(Contract, ScatteredBodyIsStoredInOrder) {
    std::vector<std::string> parts;
    std::string whole;
    for (int i = 0; i < 300; ++i) {
        parts.push_back(
            std::string(static_cast<std::size_t>(i % 97), static_cast<char>('a' + i % 26)));
        whole += parts.back();
    }
    PutRequest request{.name = data("scattered")};
    for (const std::string& part : parts) {
        request.body.push_back(as_bytes(part));
    }
    EXPECT_EQ(put_and_wait(*store_, std::move(request)).outcome, PutOutcome::stored);
    EXPECT_EQ(must_get(data("scattered")), whole);
}

TEST_P(Contract, BytesThatChangedSinceTheirWriterVerifiedThemAreRefused) {
    const std::string body = "what was verified", changed = "what was verifieD";
    const std::uint64_t crc = crc64nvme(as_bytes(body));
    const auto put_with_crc = [&](const char* name, std::string_view bytes) {
        return put_and_wait(*store_, {.name = data(name),
                                      .body = {as_bytes(bytes.substr(0, 5)),  // In two pieces.
                                               as_bytes(bytes.substr(5))},
                                      .crc64 = crc});
    };
    expect_refused(put_with_crc("changed", changed), Errc::blob_checksum);
    expect_error(head_and_wait(*store_, data("changed")), Errc::blob_not_found);
    EXPECT_EQ(put_with_crc("same", body).outcome, PutOutcome::stored);
    EXPECT_EQ(must_get(data("same")), body);
}

TEST_P(Contract, LargeBodySurvivesWhole) {
    ByteVector body(9 * 1024 * 1024 + 7);
    make_seeded_random(7)->fill(body);
    ASSERT_EQ(put_and_wait(*store_, {.name = data("large"), .body = {Bytes(body)}}).outcome,
              PutOutcome::stored);
    const auto got = get_and_wait(*store_, {.name = data("large")});
    ASSERT_TRUE(got) << to_string(got.error());
    EXPECT_TRUE(got->bytes == body);
}

TEST_P(Contract, EmptyObjectIsAnObject) {
    must_put(data("empty"), "");
    EXPECT_EQ(must_get(data("empty")), "");
    const auto head = head_and_wait(*store_, data("empty"));
    ASSERT_TRUE(head);
    EXPECT_EQ(head->size, 0U);
}

TEST_P(Contract, CreateRefusesAnExistingNameAndKeepsItsContent) {
    must_put(data("once"), "first");
    expect_refused(put(data("once"), "second"), Errc::blob_conflict);
    EXPECT_EQ(must_get(data("once")), "first");
}

TEST_P(Contract, OfManyCreatorsOfOneNameExactlyOneWins) {
    std::vector<std::unique_ptr<BlobStore>> stores;
    std::vector<std::string> bodies;
    for (int i = 0; i < 8; ++i) {
        stores.push_back(rig_->factory().make());
        bodies.push_back("writer " + std::to_string(i));
    }
    int won = 0, finished = 0;
    std::string winner;
    for (std::size_t i = 0; i < stores.size(); ++i) {
        stores[i]->put({.name = data("race"), .body = {as_bytes(bodies[i])}},
                       [&, i](const PutResult& result) {
                           ++finished;
                           if (result.outcome == PutOutcome::stored) {
                               ++won;
                               winner = bodies[i];
                           } else {
                               expect_refused(result, Errc::blob_conflict);
                           }
                       });
    }
    for (int round = 0; finished < 8 && round < 10'000; ++round) {
        for (auto& store : stores) {
            store->wait(ns_per_ms, -1);
            store->poll();
        }
    }
    EXPECT_EQ(finished, 8);
    EXPECT_EQ(won, 1);
    EXPECT_EQ(must_get(data("race")), winner);
}

TEST_P(Contract, CompareAndSwapFollowsTheEtag) {
    const std::string first = must_put(control("head"), "one");
    const PutResult second = put(control("head"), "two", PutCondition::if_match, first);
    ASSERT_EQ(second.outcome, PutOutcome::stored);
    EXPECT_NE(second.etag, first);
    expect_refused(put(control("head"), "three", PutCondition::if_match, first),
                   Errc::blob_conflict);
    EXPECT_EQ(must_get(control("head")), "two");
}

TEST_P(Contract, OverwriteReplacesBytesMetadataAndEtag) {
    const std::string first = must_put(control("x"), "one");
    const PutResult second = put_and_wait(*store_, {.name = control("x"),
                                                    .body = {as_bytes("longer than before")},
                                                    .metadata = {{"epoch", "7"}, {"nonce", "n2"}},
                                                    .condition = PutCondition::none});
    ASSERT_EQ(second.outcome, PutOutcome::stored);
    EXPECT_NE(second.etag, first);
    const auto head = head_and_wait(*store_, control("x"));
    ASSERT_TRUE(head);
    EXPECT_EQ(head->metadata, (Metadata{{"epoch", "7"}, {"nonce", "n2"}}));
    EXPECT_EQ(head->etag, second.etag);
    EXPECT_EQ(must_get(control("x")), "longer than before");
}

TEST_P(Contract, SameBytesWrittenAgainHaveAnotherEtag) {
    std::set<std::string> etags;
    for (int i = 0; i < 5; ++i) {
        etags.insert(must_put(control("same"), "same", PutCondition::none));
    }
    EXPECT_EQ(etags.size(), 5U);
}

TEST_P(Contract, RangesAreExactAndEndAtTheEndOfTheObject) {
    must_put(data("range"), "0123456789");
    const auto range = [&](std::uint64_t offset, std::uint64_t length) {
        const auto got =
            get_and_wait(*store_, {.name = data("range"), .offset = offset, .length = length});
        EXPECT_TRUE(got) << to_string(got.error());
        EXPECT_EQ(got ? got->properties.size : 0, 10U);
        return got ? std::string(as_text(got->bytes)) : "";
    };
    EXPECT_EQ(range(0, 3), "012");
    EXPECT_EQ(range(4, 2), "45");
    EXPECT_EQ(range(7, 100), "789");
    EXPECT_EQ(range(7, 0), "789");
    EXPECT_EQ(range(10, 4), "");
    EXPECT_EQ(range(99, 4), "");
}

TEST_P(Contract, RangeOfAnObjectThatChangedIsAConflict) {
    const std::string first = must_put(control("moving"), "one");
    must_put(control("moving"), "two", PutCondition::none);
    expect_error(get_and_wait(*store_, {.name = control("moving"), .if_match = first}),
                 Errc::blob_conflict);
}

TEST_P(Contract, MissingObjectIsNotFound) {
    expect_error(get_and_wait(*store_, {.name = data("nothing")}), Errc::blob_not_found);
    expect_error(head_and_wait(*store_, data("nothing/at/all")), Errc::blob_not_found);
}

TEST_P(Contract, MatchOnAMissingObjectIsAConflict) {
    const std::string etag = must_put(control("gone"), "one");
    ASSERT_TRUE(remove_and_wait(*store_, control("gone")));
    expect_refused(put(control("gone"), "two", PutCondition::if_match, etag), Errc::blob_conflict);
    expect_error(head_and_wait(*store_, control("gone")), Errc::blob_not_found);
}

TEST_P(Contract, RemoveIsIdempotent) {
    must_put(data("dir/x"), "x");
    EXPECT_TRUE(remove_and_wait(*store_, data("dir/x")));
    expect_error(head_and_wait(*store_, data("dir/x")), Errc::blob_not_found);
    EXPECT_TRUE(remove_and_wait(*store_, data("dir/x")));
    must_put(data("dir/x"), "again");
    EXPECT_EQ(must_get(data("dir/x")), "again");
}

TEST_P(Contract, ListIsSortedFilteredAndComplete) {
    const std::vector<std::string> names{"a-b", "a.b", "a/1", "a/2/x", "a0", "b"};
    for (const std::string& name : names) {
        must_put(data(name), name);
    }
    must_put(control("a/1"), "other container");
    const auto all = list_all(*store_, Container::data, "");
    ASSERT_TRUE(all) << to_string(all.error());
    std::vector<std::string> listed;
    for (const ListPage::Entry& entry : *all) {
        listed.push_back(entry.name);
        EXPECT_EQ(entry.size, entry.name.size());
    }
    EXPECT_EQ(listed, names);
    const auto some = list_all(*store_, Container::data, "a/");
    ASSERT_TRUE(some);
    ASSERT_EQ(some->size(), 2U);
    EXPECT_EQ((*some)[0].name, "a/1");
    EXPECT_EQ((*some)[1].name, "a/2/x");
    const auto none = list_all(*store_, Container::data, "zzz");
    ASSERT_TRUE(none);
    EXPECT_TRUE(none->empty());
}

TEST_P(Contract, ListPagesJoinWithoutGapOrDouble) {
    constexpr int count = 50;  // Rigs make pages of 20.
    int finished = 0;
    for (int i = 0; i < count; ++i) {
        std::string number = std::to_string(100'000 + i);
        store_->put({.name = data("p/" + number.substr(3) + "/" + number)},
                    [&](const PutResult& result) {
                        ++finished;
                        EXPECT_EQ(result.outcome, PutOutcome::stored);
                    });
    }
    for (int round = 0; finished < count && round < 100'000; ++round) {
        store_->wait(10 * ns_per_ms, -1);
        store_->poll();
    }
    ASSERT_EQ(finished, count);
    const auto all = list_all(*store_, Container::data, "p/");
    ASSERT_TRUE(all) << to_string(all.error());
    EXPECT_EQ(all->size(), static_cast<std::size_t>(count));
    EXPECT_TRUE(std::ranges::is_sorted(*all, {}, &ListPage::Entry::name));
    EXPECT_EQ(std::ranges::adjacent_find(*all, {}, &ListPage::Entry::name), all->end());
}

TEST_P(Contract, NamesOutsideTheAlphabetAreRejectedEverywhere) {
    for (const std::string_view name :
         {"", "A", "a b", "a//b", "/a", "a/", "..", "a/../b", "a.", "a/.", "%2e", "a\\b", "a?b"}) {
        expect_refused(put(data(std::string(name)), "x"), Errc::blob_rejected);
        expect_error(get_and_wait(*store_, {.name = data(std::string(name))}), Errc::blob_rejected);
        expect_error(head_and_wait(*store_, data(std::string(name))), Errc::blob_rejected);
        expect_error(remove_and_wait(*store_, data(std::string(name))), Errc::blob_rejected);
    }
    must_put(data(std::string(200, 'n')), "x");
    expect_refused(put(data(std::string(201, 'n')), "x"), Errc::blob_rejected);
}

TEST_P(Contract, MetadataThatHttpWouldChangeIsRejected) {
    const std::vector<Metadata> bad{
        {{"No", "v"}},  {{"n-1", "v"}},           {{"n", ""}},   {{"n", " v"}},
        {{"n", "v\n"}}, {{"b", "1"}, {"a", "2"}}, {{"1n", "v"}}, {{"a", "1"}, {"a", "2"}}};
    for (const Metadata& metadata : bad) {
        expect_refused(put_and_wait(*store_, {.name = data("meta"), .metadata = metadata}),
                       Errc::blob_rejected);
    }
}

TEST_P(Contract, VaultWithoutContainersIsMissingNotEmpty) {
    const auto other = GetParam().make();
    const auto store = other->factory().make();
    expect_refused(put_and_wait(*store, {.name = data("x")}), Errc::vault_missing);
    expect_error(get_and_wait(*store, {.name = data("x")}), Errc::vault_missing);
    expect_error(list_all(*store, Container::data, ""), Errc::vault_missing);
}

TEST_P(Contract, CreatingContainersTwiceKeepsTheirContent) {
    must_put(data("kept"), "kept");
    EXPECT_TRUE(create_containers_and_wait(*store_));
    EXPECT_EQ(must_get(data("kept")), "kept");
}

TEST_P(Contract, CallbacksRunInsidePollAndOnlyOnce) {
    int called = 0;
    store_->put({.name = data("cb")}, [&](const PutResult&) { ++called; });
    EXPECT_EQ(called, 0);
    EXPECT_EQ(store_->in_flight(), 1U);
    for (int i = 0; i < 10'000 && store_->in_flight() > 0; ++i) {
        store_->wait(10 * ns_per_ms, -1);
        store_->poll();
    }
    EXPECT_EQ(called, 1);
    EXPECT_EQ(store_->in_flight(), 0U);
}

TEST_P(Contract, CallbackMayStartTheNextOperation) {
    int chain = 0;
    std::function<void(PutResult)> next = [&](const PutResult& result) {
        EXPECT_EQ(result.outcome, PutOutcome::stored);
        if (++chain < 5) {
            store_->put({.name = data("chain/" + std::to_string(chain))}, next);
        }
    };
    store_->put({.name = data("chain/0")}, next);
    for (int i = 0; i < 10'000 && chain < 5; ++i) {
        store_->wait(10 * ns_per_ms, -1);
        store_->poll();
    }
    EXPECT_EQ(chain, 5);
}

INSTANTIATE_TEST_SUITE_P(Stores, Contract, testing::ValuesIn(contract_rigs()), rig_name);

}  // namespace
}  // namespace cw::blob
