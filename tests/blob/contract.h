// What the parts of the contract suite share: a fresh vault per test and the checks.
#pragma once

#include "tests/blob/rig.h"

#include <gtest/gtest.h>

namespace cw::blob {

inline BlobName data(std::string name) {
    return {Container::data, std::move(name)};
}
inline BlobName control(std::string name) {
    return {Container::control, std::move(name)};
}

class Contract : public testing::TestWithParam<RigMaker> {
protected:
    void SetUp() override {
        rig_ = GetParam().make();
        store_ = rig_->factory().make();
        const auto created = create_containers_and_wait(*store_);
        ASSERT_TRUE(created) << to_string(created.error());
    }
    PutResult put(const BlobName& name, std::string_view body,
                  PutCondition condition = PutCondition::if_absent, std::string etag = {}) {
        return put_and_wait(*store_, {.name = name,
                                      .body = {as_bytes(body)},
                                      .metadata = {{"nonce", "n1"}},
                                      .condition = condition,
                                      .etag = std::move(etag)});
    }
    std::string must_put(const BlobName& name, std::string_view body,
                         PutCondition condition = PutCondition::if_absent) {
        PutResult result = put(name, body, condition);
        EXPECT_EQ(result.outcome, PutOutcome::stored) << to_string(*result.error);
        return result.etag;
    }
    std::string must_get(const BlobName& name) {
        auto result = get_and_wait(*store_, {.name = name});
        EXPECT_TRUE(result) << to_string(result.error());
        return result ? std::string(as_text(result->bytes)) : "";
    }
    static void expect_refused(const PutResult& result, Errc code) {
        EXPECT_EQ(result.outcome, PutOutcome::refused);
        ASSERT_TRUE(result.error);
        EXPECT_EQ(name_of(result.error->code), name_of(code)) << to_string(*result.error);
    }
    template <typename T>
    static void expect_error(const Result<T>& result, Errc code) {
        ASSERT_FALSE(result);
        EXPECT_EQ(name_of(result.error().code), name_of(code)) << to_string(result.error());
    }

    std::unique_ptr<Rig> rig_;
    std::unique_ptr<BlobStore> store_;
};

inline std::string rig_name(const testing::TestParamInfo<RigMaker>& info) {
    return info.param.name;
}

}  // namespace cw::blob
