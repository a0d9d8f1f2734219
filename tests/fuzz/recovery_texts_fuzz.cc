// Texts of the read path: times as people write them, and what garbage collection remembers.
#include "base/assert.h"
#include "recovery/catalog.h"
#include "recovery/gc.h"

namespace {

using namespace cw;

void check_time(std::string_view text) {
    const auto time = recovery::parse_time(text);
    if (!time) {
        CW_ASSERT(time.error().code == Errc::usage);
        return;
    }
    const auto again = recovery::parse_time(recovery::time_text(*time));
    CW_ASSERT(again && *again == *time);
}

// A file that is damaged costs time and nothing else: what is not understood was never noted.
void check_memory(std::string_view text) {
    const recovery::GcMemory memory = recovery::parse_gc_memory(text);
    const std::string written = to_text(memory);
    const recovery::GcMemory again = recovery::parse_gc_memory(written);
    CW_ASSERT(again.unnamed_since == memory.unnamed_since && to_text(again) == written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = as_text({reinterpret_cast<const std::byte*>(data), size});
    check_time(text);
    check_memory(text);
    return 0;
}
