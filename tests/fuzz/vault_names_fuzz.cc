// Object names of a vault: every name that parses is spelled in exactly one way, and only names of
// the right container parse.
#include "base/assert.h"
#include "egress/vault/names.h"

#include <set>

namespace {

using namespace cw;
using namespace cw::vault;
using blob::BlobName;
using blob::Container;

// No two objects of a machine share a name, and each may be given to a store.
void check_names_of(const MachineId& machine, const BlobName& known) {
    const BlobName names[] = {known,
                              vault_keys_blob(),
                              machine_keys_blob(machine),
                              head_blob(machine),
                              gc_boundary_blob(machine),
                              manifest_blob(machine, 1)};
    std::set<std::string> different;
    for (const BlobName& name : names) {
        CW_ASSERT(blob::check_name(name).has_value());
        different.insert(to_string(name));
    }
    CW_ASSERT(different.size() + (known == manifest_blob(machine, 1) ? 1 : 0) == std::size(names));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    const BlobName segment{Container::data, text};
    if (const auto name = parse_segment_blob(segment)) {
        CW_ASSERT(segment_blob(*name) == segment);
        check_names_of(name->machine, segment);
    }
    const BlobName manifest{Container::manifest, text};
    if (const auto number = parse_manifest_number(manifest)) {
        const auto machine = parse_id<MachineId>(text.substr(0, 36));
        CW_ASSERT(machine && manifest_blob(*machine, *number) == manifest);
        CW_ASSERT(text.starts_with(manifest_prefix(*machine)));
        check_names_of(*machine, manifest);
    }
    CW_ASSERT(!parse_segment_blob(manifest) && !parse_manifest_number(segment));
    return 0;
}
