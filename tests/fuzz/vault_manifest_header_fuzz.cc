// Sealed manifests: a valid one with patches, signed anew on demand by a server that the vault has
// certified, so that every field of the clear header is reached. Only the one that was sealed
// opens. Input: u8 (1: sign anew, 2: with points), then patches.
#include "egress/vault/manifest.h"
#include "egress/vault/manifest_body.h"
#include "tests/fakes/memory_vault.h"
#include "tests/fuzz/damaged_file.h"

#include <algorithm>

namespace {

using namespace cw;
using namespace cw::vault;

class PlainKek final : public KeyService {
public:
    Result<ByteVector> wrap(Bytes plain, Bytes) override {
        return ByteVector(plain.begin(), plain.end());
    }
    Result<ByteVector> unwrap(Bytes wrapped, Bytes) override {
        return ByteVector(wrapped.begin(), wrapped.end());
    }
};

// One vault for all inputs, and two manifests of one machine in it.
struct Writer {
    std::unique_ptr<Random> random = make_seeded_random(1);
    VaultIdentity vault;
    ServerSigner signer;
    MachineKeys keys;
    Manifest manifests[2];
    ByteVector objects[2];

    Writer() {
        ManualClock clock;
        fakes::MemoryVault memory(clock, {});
        const auto factory = memory.factory();
        const auto store = factory->make();
        PlainKek kek;
        vault = create_vault(*store, kek, *random).value();
        signer = make_server_signer(*store, kek, *random, ServerId{{std::byte{9}}}).value();
        keys.machine.bytes.fill(std::byte{3});
        keys.machine_key = Secret<Key256>(Key256{});
        for (std::size_t i = 0; i < 2; ++i) {
            Manifest& manifest = manifests[i];
            manifest.machine = keys.machine;
            manifest.number = 7 + i;
            manifest.epoch = Epoch{2};
            manifest.kind = i == 0 ? ManifestKind::regular : ManifestKind::checkpoint;
            manifest.checkpoint = i == 0 ? 1 : manifest.number;
            manifest.machine_name = "web1";
            if (i == 1) {
                manifest.points.emplace_back().manifest = manifest.number;
            }
            objects[i] = seal_manifest(manifest, vault, keys, signer, *random).bytes;
        }
    }
};

const Writer& writer() {
    static const Writer one;
    return one;
}

void check_opened(const Manifest& opened, const Manifest& sealed) {
    CW_ASSERT(opened.machine == sealed.machine && opened.number == sealed.number);
    CW_ASSERT(opened.epoch == sealed.epoch && opened.kind == sealed.kind);
    CW_ASSERT(opened.previous == sealed.previous && opened.nonce == sealed.nonce);
    CW_ASSERT(encode_manifest_body(opened) == encode_manifest_body(sealed));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteReader in({reinterpret_cast<const std::byte*>(data), size}, Errc::usage);
    const std::uint8_t how = in.u8().value_or(0);
    const Writer& own = writer();
    const std::size_t which = (how & 2) != 0 ? 1 : 0;
    const ByteVector& valid = own.objects[which];
    CW_ASSERT(manifest_object_bytes(own.manifests[which]) == valid.size());

    ByteVector object = fuzz::damaged(valid, in, [](ByteVector&, std::size_t) {});
    if ((how & 1) != 0 && object.size() > sizeof(Signature)) {
        object.resize(object.size() - sizeof(Signature));
        const Signature signature = sign_ed25519(own.signer.key.reveal(), object);
        object.insert(object.end(), signature.begin(), signature.end());
    }
    const auto header = check_manifest(object, own.vault);
    const auto opened = open_manifest(object, own.vault, own.keys);
    CW_ASSERT(header || !opened);
    CW_ASSERT(opened.has_value() == (object == valid));
    if (opened) {
        check_opened(*opened, own.manifests[which]);
    }
    if (header) {
        CW_ASSERT(header->number > 0 && raw(header->epoch) > 0);
        CW_ASSERT(header->kind >= ManifestKind::takeover &&
                  header->kind <= ManifestKind::checkpoint);
        CW_ASSERT(header->certificate.server == own.signer.certificate.server);
        MachineKeys other;
        other.machine_key = Secret<Key256>(Key256{});
        CW_ASSERT(!open_manifest(object, own.vault, other));
    }
    return 0;
}
