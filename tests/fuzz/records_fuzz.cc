// The appliance's own files and records: the witness file, the server's id, and the machine record
// past its signature, and signed ones. The first byte chooses.
#include "appliance/operator/machine_state.h"
#include "appliance/operator/signed_record.h"
#include "appliance/server_state.h"
#include "base/random.h"
#include "tests/fakes/memory_vault.h"
#include "tests/fuzz/damaged_file.h"

#include <algorithm>

namespace {

using namespace cw;
using namespace cw::appliance;

void check_witnesses(Disk& disk, Bytes text) {
    fuzz::put_file(disk, "/server/witness", text);
    WitnessFile file("/server/witness");
    if (!file.load(disk)) {
        return;
    }
    const std::size_t known = file.all().size();
    file.note(MachineId{}, {.number = UINT64_MAX});
    CW_ASSERT(file.store(disk).has_value());
    WitnessFile again("/server/witness");
    CW_ASSERT(again.load(disk).has_value() && again.all().size() >= known);
    for (const auto& [machine, witness] : file.all()) {
        CW_ASSERT(again.of(machine).number == witness.number);
        CW_ASSERT(again.of(machine).hash == witness.hash);
    }
    CW_ASSERT(again.store(disk).has_value());  // Nothing changed: nothing is written.
    WitnessFile missing("/server/none");
    CW_ASSERT(missing.load(disk).has_value() && missing.all().empty());
    CW_ASSERT(missing.of(MachineId{}).number == 0);
}

void check_server_id(Disk& disk, Bytes text) {
    const auto random = make_seeded_random(1);
    fuzz::put_file(disk, "/server/server-id", text);
    if (const auto id = load_server_id(disk, *random, "/server")) {
        // Hexadecimal digits may come in either case.
        std::string told(as_text(text));
        std::ranges::transform(told, told.begin(), [](char c) {
            return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        CW_ASSERT(told.starts_with(to_string(*id)));
    }
    // Where there is none, one is made and kept.
    CW_ASSERT(disk.create_directories("/fresh").has_value());
    const auto made = load_server_id(disk, *random, "/fresh");
    CW_ASSERT(made && load_server_id(disk, *random, "/fresh") == *made);
}

// Each disk is back or missing, and whoever is told of a half machine hears of every one.
void check_returned(ReturnedDisks returned) {
    const auto missing = returned.missing(), back = returned.back();
    CW_ASSERT(missing.size() + back.size() == returned.disks.size());
    CW_ASSERT(returned.whole() == (missing.empty() && !back.empty()));
    CW_ASSERT(!(returned.half() && returned.whole()));
    const std::string told = half_text(returned);
    for (const ReturnedDisk& disk : returned.disks) {
        CW_ASSERT(returned.find(disk.disk) != nullptr && !name_of(disk.phase).empty());
        CW_ASSERT(disk.phase == DiskReturn::back || told.contains(to_string(disk.disk)));
    }
}

void check_machine_record(Bytes payload) {
    if (const auto record = decode_machine_record(payload)) {
        const ByteVector once = encode_machine_record(*record);
        const auto again = decode_machine_record(once);
        CW_ASSERT(again && encode_machine_record(*again) == once);
        check_returned(record->returned);
    }
    // Nobody signed it.
    CW_ASSERT(!open_record(RecordKind::machine, payload, {}));
}

class PlainKek final : public vault::KeyService {
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

// One for all inputs.
struct Signer {
    std::unique_ptr<Random> random = make_seeded_random(1);
    vault::VaultIdentity vault;
    vault::ServerSigner signer;
    Signer() {
        Site site;
        PlainKek kek;
        vault = vault::create_vault(*site.store, kek, *random).value();
        signer = vault::make_server_signer(*site.store, kek, *random, {}).value();
    }
};

const Signer& signer() {
    static const Signer one;
    return one;
}

// Records in a vault change only from what was read, and are believed only as what they are.
void check_stored_record(const ByteVector& record, const RecordSubject& subject, Bytes payload) {
    Site site;
    site.memory.create_containers();
    const blob::BlobName name{blob::Container::control, "record"};
    const auto read = [&](RecordKind kind, const RecordSubject& of) {
        return read_record(*site.store, signer().vault, kind, name, of);
    };
    const auto none = read(RecordKind::plan, subject);
    CW_ASSERT(none && none->etag.empty() && none->payload.empty());
    CW_ASSERT(write_record(*site.store, name, record, {}) == true);
    CW_ASSERT(write_record(*site.store, name, record, {}) == false);
    const auto there = read(RecordKind::plan, subject);
    CW_ASSERT(there && std::ranges::equal(there->payload, payload) && !there->etag.empty());
    CW_ASSERT(write_record(*site.store, name, record, there->etag) == true);
    CW_ASSERT(write_record(*site.store, name, record, there->etag) == false);
    CW_ASSERT(!read(RecordKind::receipt, subject) && !read(RecordKind::plan, {}));
    site.memory.script(fakes::BlobOp::get, fakes::BlobFault::denied);
    CW_ASSERT(read(RecordKind::plan, subject).error().code == Errc::blob_auth);
    site.memory.script(fakes::BlobOp::put, fakes::BlobFault::denied);
    const auto refused = write_record(*site.store, name, record, {});
    CW_ASSERT(!refused && refused.error().code == Errc::blob_auth);
}

// u16 where the record is changed, u8 how (0: cut there), then what it says.
void check_signed_record(ByteReader in) {
    const std::size_t at = in.u16().value_or(0);
    const auto change = std::byte{in.u8().value_or(0)};
    const Bytes payload = *in.take(in.remaining());
    const RecordSubject subject{std::byte{1}};
    ByteVector record = seal_record(RecordKind::plan, subject, signer().signer, payload);
    const auto opened = open_record(RecordKind::plan, record, signer().vault);
    CW_ASSERT(opened && std::ranges::equal(opened->payload, payload));
    CW_ASSERT(opened->subject == subject);
    check_stored_record(record, subject, payload);
    if (change == std::byte{0}) {
        record.resize(at % record.size());
    } else {
        record[at % record.size()] ^= change;
    }
    CW_ASSERT(!open_record(RecordKind::plan, record, signer().vault));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const Bytes bytes = Bytes(reinterpret_cast<const std::byte*>(data), size).subspan(1);
    fakes::SimStorage storage(1);
    const auto disk = storage.make_disk();
    CW_ASSERT(disk->create_directories("/server").has_value());
    switch (*data % 4) {
        case 0:
            check_witnesses(*disk, bytes);
            break;
        case 1:
            check_server_id(*disk, bytes);
            break;
        case 3:
            check_signed_record({bytes, Errc::usage});
            break;
        default:
            check_machine_record(bytes);
    }
    return 0;
}
