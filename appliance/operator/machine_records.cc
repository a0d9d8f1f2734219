#include "appliance/operator/machine_records.h"

#include "base/assert.h"

namespace cw::appliance {
namespace {

constexpr unsigned attempts_max = 16;

struct Loaded {
    MachineRecord record;
    std::string etag;  // Empty: nothing is stored.
};

Result<Loaded> read_and_decode(blob::BlobStore& store, const vault::VaultIdentity& vault,
                               const MachineId& machine, const blob::BlobName& name) {
    CW_TRY_ASSIGN(const StoredRecord stored,
                  read_record(store, vault, RecordKind::machine, name, machine.bytes));
    if (stored.etag.empty()) {
        return Loaded{};
    }
    CW_TRY_ASSIGN(MachineRecord record, decode_machine_record(stored.payload));
    return Loaded{std::move(record), stored.etag};
}

// Recovery does not need the record: whoever meets a damaged one is told how to go on without it.
Result<Loaded> load_of(blob::BlobStore& store, const vault::VaultIdentity& vault,
                       const MachineId& machine, const blob::BlobName& name) {
    auto loaded = read_and_decode(store, vault, machine, name);
    if (loaded) {
        return loaded;
    }
    Error error = loaded.error();
    if (error.code == Errc::object_corrupt) {
        error.detail =
            to_string(name) + ": " + error.detail + "; it holds what operators chose, no data";
        error.next = "remove that object to begin anew; causeway export needs none of it";
    } else if (error.code == Errc::format_unsupported) {
        error.detail = to_string(name) + ": " + error.detail;
    }
    return std::unexpected(std::move(error));
}

}  // namespace

blob::BlobName machine_record_blob(const MachineId& machine) {
    return {blob::Container::control, to_string(machine) + "/state"};
}

Result<MachineRecord> MachineRecords::load(const MachineId& machine) {
    CW_TRY_ASSIGN(Loaded loaded, load_of(store_, vault_, machine, machine_record_blob(machine)));
    return std::move(loaded.record);
}

Result<MachineRecord> MachineRecords::update(
    const MachineId& machine, const std::function<Result<void>(MachineRecord&)>& change) {
    CW_ASSERT(signer_.has_value());
    const blob::BlobName name = machine_record_blob(machine);
    for (unsigned attempt = 0; attempt < attempts_max; ++attempt) {
        CW_TRY_ASSIGN(Loaded loaded, load_of(store_, vault_, machine, name));
        MachineRecord& record = loaded.record;
        CW_TRY(change(record));
        ++record.revision;
        CW_TRY_ASSIGN(const bool done,
                      write_record(store_, name,
                                   seal_record(RecordKind::machine, machine.bytes, *signer_,
                                               encode_machine_record(record)),
                                   loaded.etag));
        if (done) {
            return record;
        }
        // The next round reads what is there; a change that was stored changes nothing again.
    }
    return fail(Errc::transition_refused, "machine " + to_string(machine) +
                                              ": its state is being changed by others; try again");
}

}  // namespace cw::appliance
