// A limit is kept within an object, not only between objects.
#include "base/ids.h"
#include "tests/blob/azure_fixture.h"

namespace cw::blob {
namespace {

class PaceTest : public AzureTest {
protected:
    std::unique_ptr<BlobStore> paced(std::uint64_t bytes_per_s) {
        pace_->bytes_per_s = bytes_per_s;
        AzureOptions options = shared_key();
        options.pace = pace_;
        return ready(std::move(options));
    }
    // How long the put took.
    std::int64_t put(BlobStore& store, std::size_t bytes, const std::function<void()>& meanwhile) {
        const std::string body(bytes, 'x');
        std::optional<PutResult> result;
        const Nanos begun = clock_.boot();
        store.put(put_of("paced", body), [&result](PutResult r) { result = std::move(r); });
        while (!result) {
            store.wait(10 * ns_per_ms, -1);
            store.poll();
            meanwhile();
        }
        EXPECT_EQ(result->outcome, PutOutcome::stored);
        return clock_.boot() - begun;
    }
    std::shared_ptr<SendPace> pace_ = std::make_shared<SendPace>();
};

TEST_F(PaceTest, AnUploadIsNotFasterThanItsPace) {
    const auto store = paced(512 * kib);
    EXPECT_GE(put(*store, 768 * kib, [] {}), ns_per_s);  // A second and a half, less a burst.
}

TEST_F(PaceTest, AnUploadOnItsWayFollowsAChange) {
    const auto store = paced(8 * kib);  // Two minutes.
    const Nanos begun = clock_.boot();
    EXPECT_LT(put(*store, mib,
                  [&] {
                      if (clock_.boot() - begun > 200 * ns_per_ms) {
                          pace_->bytes_per_s = 0;
                      }
                  }),
              60 * ns_per_s);
}

}  // namespace
}  // namespace cw::blob
