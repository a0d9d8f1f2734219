// The appliance's own files and records: the witness file, the server's id, and the machine record
// past its signature. The first byte chooses.
#include "appliance/operator/machine_state.h"
#include "appliance/operator/signed_record.h"
#include "appliance/server_state.h"
#include "base/random.h"
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
}

void check_machine_record(Bytes payload) {
    if (const auto record = decode_machine_record(payload)) {
        const ByteVector once = encode_machine_record(*record);
        const auto again = decode_machine_record(once);
        CW_ASSERT(again && encode_machine_record(*again) == once);
    }
    // Nobody signed it.
    CW_ASSERT(!open_record(RecordKind::machine, payload, {}));
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
    switch (*data % 3) {
        case 0:
            check_witnesses(*disk, bytes);
            break;
        case 1:
            check_server_id(*disk, bytes);
            break;
        default:
            check_machine_record(bytes);
    }
    return 0;
}
