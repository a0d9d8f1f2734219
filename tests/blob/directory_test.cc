#include "base/ids.h"
#include "egress/blob/directory_store.h"

#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace cw::blob {
namespace {

// Like a full file system, which a test cannot make: writing beyond the limit fails.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        CW_ASSERT(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
        const rlimit less{bytes, before_.rlim_max};
        CW_ASSERT(::setrlimit(RLIMIT_FSIZE, &less) == 0);
    }
    ~FileSizeLimit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;

private:
    rlimit before_{};
    void (*handler_)(int);
};

TEST(DirectoryStore, SaysThatItIsFullAndTakesTheObjectLater) {
    const std::string path = testing::TempDir() + "cw_directory_full";
    const auto clock = make_system_clock();
    const auto random = make_system_random();
    const auto factory =
        make_directory_factory({.path = path, .create = true}, *clock, *random).value();
    const auto store = factory->make();
    ASSERT_TRUE(create_containers_and_wait(*store));
    const ByteVector body(mib, std::byte{7});
    PutRequest request;
    request.name = {Container::data, "some/object"};
    request.body = {body};
    {
        const FileSizeLimit limit(64 * kib);
        const PutResult refused = put_and_wait(*store, request);
        EXPECT_EQ(refused.outcome, PutOutcome::refused);
        ASSERT_TRUE(refused.error);
        EXPECT_EQ(refused.error->code, Errc::vault_full);
        EXPECT_TRUE(refused.error->detail.contains(path)) << refused.error->detail;
    }
    EXPECT_EQ(put_and_wait(*store, request).outcome, PutOutcome::stored);
    std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace cw::blob
