// Manifests and control notes. Signatures keep a fuzzer out, so the body is also given past them:
// whatever is accepted must be written back to the same bytes, and may stand in a chain or not
// without crashing.
#include "base/assert.h"
#include "egress/vault/control.h"
#include "egress/vault/manifest_body.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const cw::Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    const cw::vault::VaultIdentity vault{};
    CW_ASSERT(!cw::vault::check_manifest(bytes, vault));
    CW_ASSERT(!cw::vault::decode_head(bytes, vault, {}));
    CW_ASSERT(!cw::vault::decode_gc_boundary(bytes, vault, {}));

    cw::vault::Manifest old;
    old.kind = cw::vault::ManifestKind::checkpoint;
    static_cast<void>(cw::vault::decode_manifest_body(bytes, 1, old));

    cw::vault::Manifest manifest;
    manifest.number = 1'000;
    manifest.epoch = cw::Epoch{1};
    manifest.kind = cw::vault::ManifestKind::checkpoint;
    if (!cw::vault::decode_manifest_body(bytes, 2, manifest)) {
        return 0;
    }
    const cw::ByteVector again = cw::vault::encode_manifest_body(manifest);
    CW_ASSERT(cw::ByteVector(bytes.begin(), bytes.end()) == again);
    const cw::vault::RunSource no_runs = [](std::size_t) -> cw::Result<cw::vault::IndexRun> {
        return cw::fail(cw::Errc::object_corrupt);
    };
    if (auto state = cw::vault::begin_chain(manifest, {}, no_runs)) {
        cw::vault::Manifest next = cw::vault::make_checkpoint(*state);
        CW_ASSERT(cw::vault::apply_manifest(*state, next, {}).has_value());
    }
    return 0;
}
