// The file in which a server keeps the disks that it refuses: any bytes. What is loaded is stored
// and loaded again; a damaged line is an error, never a disk forgotten.
#include "base/conditions.h"
#include "base/random.h"
#include "ingest/quarantine_file.h"
#include "tests/fuzz/damaged_file.h"

namespace {

using namespace cw;
using namespace cw::ingest;

const std::string path = "/server/quarantine";

struct Table {
    ManualClock clock;
    std::unique_ptr<Random> random = make_seeded_random(1);
    Conditions conditions{clock};
    SessionTable sessions{clock, *random, conditions};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes text(reinterpret_cast<const std::byte*>(data), size);
    fakes::SimStorage storage(1);
    const auto disk = storage.make_disk();
    CW_ASSERT(disk->create_directories("/server").has_value());
    Table none;
    CW_ASSERT(QuarantineFile(path).load(*disk, none.sessions).has_value());  // There is no file.
    CW_ASSERT(none.sessions.quarantines().empty());

    fuzz::put_file(*disk, path, text);
    Table table;
    QuarantineFile file(path);
    const auto loaded = file.load(*disk, table.sessions);
    if (!loaded) {
        CW_ASSERT(loaded.error().code == Errc::config_invalid);
        return 0;
    }
    const auto known = table.sessions.quarantines();
    CW_ASSERT(known.empty() == (as_text(text).find_first_not_of('\n') == std::string::npos));
    CW_ASSERT(file.store(*disk, table.sessions).has_value());
    table.sessions.quarantine({.machine = {}, .disk = {}, .generation = Generation{7}, .why = "w"});
    CW_ASSERT(file.store(*disk, table.sessions).has_value());
    Table later;
    CW_ASSERT(QuarantineFile(path).load(*disk, later.sessions).has_value());
    CW_ASSERT(later.sessions.quarantines() == table.sessions.quarantines());
    CW_ASSERT(later.sessions.quarantines().size() >= known.size());
    return 0;
}
