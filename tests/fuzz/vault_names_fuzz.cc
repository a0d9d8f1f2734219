// Object names of a vault: every name that parses is spelled in exactly one way.
#include "base/assert.h"
#include "egress/vault/names.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    const cw::blob::BlobName segment{cw::blob::Container::data, text};
    if (const auto name = cw::vault::parse_segment_blob(segment)) {
        CW_ASSERT(cw::vault::segment_blob(*name) == segment);
        CW_ASSERT(cw::blob::check_name(segment).has_value());
    }
    const cw::blob::BlobName manifest{cw::blob::Container::manifest, text};
    if (const auto number = cw::vault::parse_manifest_number(manifest)) {
        const auto machine = cw::parse_id<cw::MachineId>(text.substr(0, 36));
        CW_ASSERT(machine && cw::vault::manifest_blob(*machine, *number) == manifest);
    }
    return 0;
}
