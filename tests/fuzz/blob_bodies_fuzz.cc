// Bodies that an object store, or whoever poses as one, may send: listings, errors, tokens; and the
// sidecar files of a directory vault.
#include "base/assert.h"
#include "egress/blob/azure_xml.h"
#include "egress/blob/directory_sidecar.h"
#include "egress/blob/token_source.h"

#include <algorithm>

namespace {

using namespace cw;
using namespace cw::blob;

void check_sidecars(std::string_view text) {
    if (const auto versions = decode_metadata(text)) {
        CW_ASSERT(versions->size() <= 2);
        const auto again = decode_metadata(encode_metadata(*versions));
        CW_ASSERT(again && again->size() == versions->size());
        for (std::size_t i = 0; i < versions->size(); ++i) {
            CW_ASSERT((*again)[i].etag == (*versions)[i].etag);
            CW_ASSERT((*again)[i].metadata == (*versions)[i].metadata);
        }
    }
    if (const auto lease = decode_lease(text, "boot"); lease && !lease->none()) {
        const auto again = decode_lease(encode_lease(*lease, "boot"), "boot");
        CW_ASSERT(again && again->id() == lease->id() && again->until() == lease->until());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    if (const auto page = parse_list(bytes)) {
        CW_ASSERT(std::ranges::is_sorted(page->entries, {}, &ListPage::Entry::name));
        CW_ASSERT(
            std::ranges::none_of(page->entries, [](const auto& e) { return e.name.empty(); }));
    }
    CW_ASSERT(parse_error_code(bytes).size() <= 128);
    if (const auto token = parse_token(bytes, Nanos{0})) {
        CW_ASSERT(!token->value.reveal().empty());
        CW_ASSERT(token->expires > Nanos{0} && token->refresh <= token->expires);
        // It goes into a header: nothing in it may end that header.
        CW_ASSERT(token->value.reveal().find_first_of("\r\n ") == std::string::npos);
    }
    check_sidecars(as_text(bytes));
    return 0;
}
