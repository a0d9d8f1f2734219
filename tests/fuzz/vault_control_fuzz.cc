// Control notes past their signatures: a certified server wrote whatever the input says. What is
// accepted is written back alike, and no note takes a reader off a chain that is there. Input: u8
// what is wrong with the note (bits), then its payload.
#include "base/assert.h"
#include "egress/vault/control.h"
#include "egress/vault/names.h"
#include "tests/fakes/memory_vault.h"

#include <algorithm>

namespace {

using namespace cw;
using namespace cw::vault;

constexpr std::size_t signature_bytes = sizeof(Signature);

class PlainKek final : public KeyService {
public:
    Result<ByteVector> wrap(Bytes plain, Bytes) override {
        return ByteVector(plain.begin(), plain.end());
    }
    Result<ByteVector> unwrap(Bytes wrapped, Bytes) override {
        return ByteVector(wrapped.begin(), wrapped.end());
    }
};

struct Site {
    ManualClock clock;
    fakes::MemoryVault memory{clock, {}};
    std::unique_ptr<blob::StoreFactory> factory = memory.factory();
    std::unique_ptr<blob::BlobStore> store = factory->make();
};

// One vault for all inputs, and a chain of two manifests in it.
struct Writer {
    std::unique_ptr<Random> random = make_seeded_random(1);
    VaultIdentity vault;
    ServerSigner signer;
    MachineKeys keys;
    std::vector<ByteVector> chain;

    Writer() {
        Site site;
        PlainKek kek;
        vault = create_vault(*site.store, kek, *random).value();
        signer = make_server_signer(*site.store, kek, *random, ServerId{{std::byte{9}}}).value();
        keys.machine.bytes.fill(std::byte{3});
        keys.machine_key = Secret<Key256>(Key256{});
        Manifest manifest;
        manifest.machine = keys.machine;
        manifest.epoch = Epoch{1};
        manifest.kind = ManifestKind::takeover;
        for (manifest.number = 1; manifest.number <= 2; ++manifest.number) {
            manifest.checkpoint = 1;
            chain.push_back(seal_manifest(manifest, vault, keys, signer, *random).bytes);
        }
    }
};

const Writer& writer() {
    static const Writer one;
    return one;
}

// As FORMAT.md lays a note out, around any payload.
ByteVector note_bytes(std::uint16_t kind, std::uint8_t wrong, Bytes payload) {
    const ServerSigner& signer = writer().signer;
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u32((wrong & 4) != 0 ? 0x4e435744 : 0x4e435743);
    out.u16((wrong & 8) != 0 ? 2 : 1);
    out.u16(kind);
    out.bytes((wrong & 16) != 0 ? MachineId{}.bytes : writer().keys.machine.bytes);
    out.bytes(signer.certificate.server.bytes);
    out.bytes(signer.certificate.key);
    out.bytes(signer.certificate.by_vault);
    out.u32(static_cast<std::uint32_t>(payload.size()));
    out.bytes(payload);
    const Signature signature = sign_ed25519(signer.key.reveal(), bytes);
    out.bytes(signature);
    if ((wrong & 32) != 0) {
        bytes.back() ^= std::byte{1};
    }
    if ((wrong & 64) != 0) {
        bytes.resize(bytes.size() - std::min<std::size_t>(bytes.size(), signature_bytes / 2));
    }
    return bytes;
}

void put(blob::BlobStore& store, const blob::BlobName& name, const ByteVector& bytes) {
    const auto put = blob::put_and_wait(
        store, {.name = name, .body = {bytes}, .condition = blob::PutCondition::none});
    CW_ASSERT(put.outcome == blob::PutOutcome::stored);
}

void put_refused(blob::BlobStore& store, const blob::BlobName& name, const ByteVector& bytes) {
    const auto put = blob::put_and_wait(
        store, {.name = name, .body = {bytes}, .condition = blob::PutCondition::none});
    CW_ASSERT(put.outcome == blob::PutOutcome::refused);
}

void check_boundary(const ByteVector& note) {
    const Writer& own = writer();
    Site site;
    site.memory.create_containers();
    const auto none = read_gc_boundary(*site.store, own.vault, own.keys.machine);
    CW_ASSERT(none && !*none);
    put(*site.store, gc_boundary_blob(own.keys.machine), note);
    const auto boundary = read_gc_boundary(*site.store, own.vault, own.keys.machine);
    const auto direct = decode_gc_boundary(note, own.vault, own.keys.machine);
    CW_ASSERT(boundary.has_value() == direct.has_value());
    if (direct) {
        CW_ASSERT(boundary->has_value() && direct->sweep.size() <= sweep_attempts_max);
        CW_ASSERT(encode_gc_boundary(*direct, own.keys.machine, own.signer) == note);
        CW_ASSERT(!decode_head(note, own.vault, own.keys.machine));
    }
}

// Who looks for the newest manifest with this note at hand.
void check_search(Site& site, const Result<HeadHint>& head) {
    const Writer& own = writer();
    const auto search = [&] { return newest_header(*site.store, own.vault, own.keys.machine); };
    const bool led = head.has_value() && head->number > 0;
    const bool refused = !head && head.error().code != Errc::object_corrupt;
    const auto without_chain = search();
    CW_ASSERT(without_chain.has_value() == (!head.has_value() && !refused));
    CW_ASSERT(!without_chain || !*without_chain);
    for (std::size_t i = 0; i < own.chain.size(); ++i) {
        put(*site.store, manifest_blob(own.keys.machine, i + 1), own.chain[i]);
    }
    const auto found = search();
    if (refused || (led && head->number > own.chain.size())) {
        CW_ASSERT(!found);
        return;
    }
    CW_ASSERT(found && *found && (*found)->number == own.chain.size());
}

// What the store refuses is passed on, and changes nothing.
void check_refusals(Site& site, const ByteVector& note) {
    const Writer& own = writer();
    const HeadHint mine{.number = UINT64_MAX, .epoch = Epoch{1}, .server = {}};
    site.memory.script(fakes::BlobOp::get, fakes::BlobFault::denied);
    const auto unread = read_head(*site.store, own.vault, own.keys.machine);
    CW_ASSERT(!unread && unread.error().code == Errc::blob_auth);
    site.memory.script(fakes::BlobOp::put, fakes::BlobFault::denied);
    const auto head = decode_head(note, own.vault, own.keys.machine);
    const bool newest = head && head->number == mine.number;
    const auto advanced = advance_head(*site.store, own.vault, own.keys.machine, mine, own.signer);
    CW_ASSERT(newest ? advanced.has_value() : advanced.error().code == Errc::blob_auth);
    const auto there = read_head(*site.store, own.vault, own.keys.machine);
    CW_ASSERT(there.has_value() == head.has_value());
    if (newest) {  // Nothing was put: the refusal waits for somebody else.
        put_refused(*site.store, head_blob(own.keys.machine), note);
    }
}

void check_head(const ByteVector& note) {
    const Writer& own = writer();
    Site site;
    site.memory.create_containers();
    put(*site.store, head_blob(own.keys.machine), note);
    const auto head = decode_head(note, own.vault, own.keys.machine);
    if (head) {
        CW_ASSERT(head->server == own.signer.certificate.server);
        CW_ASSERT(encode_head(*head, own.keys.machine, own.signer) == note);
        CW_ASSERT(!decode_gc_boundary(note, own.vault, own.keys.machine));
    }
    if (!head || head->number > 0) {
        check_search(site, head);
    }
    check_refusals(site, note);
    // A newer head takes its place, whatever it is; an older one does not.
    const std::uint64_t before = head ? head->number : 0;
    const HeadHint mine{.number = 2, .epoch = Epoch{1}, .server = {}};
    CW_ASSERT(advance_head(*site.store, own.vault, own.keys.machine, mine, own.signer));
    const auto now = read_head(*site.store, own.vault, own.keys.machine);
    CW_ASSERT(now && *now && (*now)->number == std::max<std::uint64_t>(before, mine.number));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const Bytes payload = Bytes(reinterpret_cast<const std::byte*>(data), size).subspan(1);
    const std::uint8_t wrong = *data;
    const ByteVector note = note_bytes((wrong & 1) != 0 ? 2 : 1, wrong, payload);
    if ((wrong & 2) != 0) {
        check_boundary(note);
    } else {
        check_head(note);
    }
    return 0;
}
