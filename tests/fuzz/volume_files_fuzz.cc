// What a master target finds beside its volume: the state, the redo log, an undo log, the map of
// its overlay. The first byte chooses; each is a valid file with patches. What is accepted lies
// within the file and is read twice alike.
#include "base/random.h"
#include "egress/volume/overlay.h"
#include "egress/volume/redo_log.h"
#include "egress/volume/undo_log.h"
#include "egress/volume/volume_state.h"
#include "tests/fuzz/damaged_file.h"

namespace {

using namespace cw;
using namespace cw::volume;

const std::string path = "/volume/file";
constexpr std::uint64_t log_number = 3;

pipeline::Record make_record(std::uint64_t seq, std::uint32_t table_blocks) {
    pipeline::Record record;
    record.header.type = pipeline::RecordType::resize;
    record.header.seq = Seq{seq};
    record.header.seq_count = 1;
    record.header.table_bytes = static_cast<std::uint32_t>(table_blocks * block_bytes);
    record.table = pipeline::TableBuffer(record.header.table_bytes);
    return record;
}

pipeline::SlabPool& pool() {
    static const auto pool = std::move(*pipeline::SlabPool::create("fuzz", 1));
    return *pool;
}

void write_redo(Disk& disk) {
    auto log = RedoLog::open(disk, path, log_number);
    CW_ASSERT(log.has_value());
    for (std::uint64_t seq = 1; seq <= 3; ++seq) {
        CW_ASSERT((*log)->append(make_record(seq, seq == 2 ? 0 : 1)).has_value());
    }
    CW_ASSERT((*log)->sync().has_value());
}

void check_redo(Disk& disk) {
    auto log = RedoLog::open(disk, path, log_number);
    CW_ASSERT(log.has_value());
    const auto entries = (*log)->recover();
    CW_ASSERT(entries.has_value());  // A log that makes no sense is empty.
    const std::uint64_t end = (*log)->bytes();
    for (const RedoEntry& entry : *entries) {
        CW_ASSERT(entry.offset < end);
        CW_ASSERT((*log)->table(entry).has_value());
        const std::uint32_t length = entry.header.data_bytes;
        CW_ASSERT((*log)->data(entry, length / 2, length - length / 2).has_value());
    }
    CW_ASSERT((*log)->append(make_record(9, 1)).has_value());
    pipeline::Record write = make_record(10, 1);
    write.header.type = pipeline::RecordType::write;
    write.header.data_bytes = 2 * block_bytes;
    write.slabs[0] = pool().try_take();
    std::ranges::fill(write.slabs[0].bytes().first(write.header.data_bytes), std::byte{9});
    CW_ASSERT((*log)->append(write).has_value());
    const auto again = (*log)->recover();
    CW_ASSERT(again && again->size() == entries->size() + 2);
    const auto content = (*log)->data(again->back(), block_bytes, block_bytes);
    CW_ASSERT(content && *content == ByteVector(block_bytes, std::byte{9}));
}

// With `many` more runs than a batch has room for.
void write_undo(Disk& disk, bool many) {
    const auto missing = UndoLog::open(disk, path, log_number);
    CW_ASSERT(missing && !*missing);
    HeldPoint point;
    point.cut = Seq{5};
    point.group.bytes.fill(std::byte{3});
    auto log = UndoLog::create(disk, path, log_number, point);
    CW_ASSERT(log.has_value());
    const ByteVector content(many ? sector_bytes : block_bytes, std::byte{7});
    for (std::uint64_t i = 0; i < (many ? 341 : 3); ++i) {
        CW_ASSERT((*log)->add(i * mib, content).has_value());
    }
    CW_ASSERT((*log)->finish().has_value());
}

void check_undo(Disk& disk) {
    const auto log = UndoLog::open(disk, path, log_number);
    if (!log || !*log) {
        return;
    }
    const auto beside = UndoLog::open(disk, path, log_number);
    CW_ASSERT(beside && *beside);
    UndoLog::Batch batch, again;
    UndoLog::Table table;
    for (int i = 0; i < 100; ++i) {
        // Heads alone tell the same as heads and content, as far as the content is sound.
        const auto listed = (*beside)->next_table(table);
        const auto more = (*log)->next(batch);
        CW_ASSERT(listed || !more);
        CW_ASSERT(!more || *more == *listed);
        if (!more || !*more) {
            return;
        }
        CW_ASSERT((*beside)->read_batch(table.at, again).has_value());
        CW_ASSERT(again.content == batch.content && table.runs.size() == batch.runs.size());
        std::size_t bytes = 0;
        for (const UndoLog::Run& run : batch.runs) {
            bytes += run.length;
        }
        CW_ASSERT(bytes == batch.content.size() && bytes <= UndoLog::run_bytes_max);
    }
}

struct StateParts {
    bool point = false, words = false, group = false, promised = false;
};

void write_state(Disk& disk, const StateParts& with) {
    VolumeState state;
    state.size_bytes = mib;
    state.target_path = "/dev/target";
    state.target_identity = "who";
    if (with.point) {
        state.point.emplace().cut = Seq{4};
        if (with.words) {
            state.point->kind = pipeline::PointKind::app;
            state.point->tag = "before the update";
        }
        if (with.group) {
            state.point->group.bytes.fill(std::byte{3});
            state.point->provisional = with.promised;
            state.machine_name = "web-1";
            state.target_written_ns = 7;
            state.decided.resize(2);
        }
    }
    CW_ASSERT(write_volume_state(disk, path, state).has_value());
}

void check_state(Disk& disk) {
    const auto state = read_volume_state(disk, path);
    if (!state) {
        return;
    }
    CW_ASSERT(name_of(state->phase) != "?");
    const bool had_point = state->point.has_value();
    CW_ASSERT(write_volume_state(disk, "/volume/again", *state).has_value());
    const auto again = read_volume_state(disk, "/volume/again");
    CW_ASSERT(again && again->phase == state->phase && again->point.has_value() == had_point);
    CW_ASSERT(!had_point ||
              (again->point->tag == state->point->tag && again->point->kind == state->point->kind));
    CW_ASSERT(!had_point || (again->point->group == state->point->group &&
                             again->point->provisional == state->point->provisional &&
                             with_decision(*again->point, *again).id == state->point->id));
    CW_ASSERT(again->machine_name == state->machine_name && again->decided == state->decided);
    CW_ASSERT(write_volume_state(disk, "/volume/third", *again).has_value());
    const auto first = read_file(disk, path, mib), second = read_file(disk, "/volume/again", mib);
    CW_ASSERT(second && read_file(disk, "/volume/third", mib) == *second);
    // A crash-consistent point's kind may stand there or not, beside a tag; all else has one form.
    CW_ASSERT(first && (*first == *second || (had_point && !state->point->tag.empty())));
}

// Neither whole words of the map nor whole blocks.
constexpr std::uint64_t overlay_bytes = mib + 3 * sector_bytes;

std::unique_ptr<TargetIo> open_target(Disk& disk) {
    auto target = disk.open("/volume/target", {.write = true, .create = true});
    CW_ASSERT(target && disk.resize(**target, overlay_bytes, false));
    return std::make_unique<TargetIo>(disk, std::move(*target), true);
}

Result<std::unique_ptr<Overlay>> open_overlay(Disk& disk, TargetIo& target) {
    return Overlay::open(disk, "/volume/data", path, target, overlay_bytes);
}

void write_map(Disk& disk) {
    const auto target = open_target(disk);
    const auto overlay = open_overlay(disk, *target);
    CW_ASSERT(overlay.has_value());
    const ByteVector content(3 * sector_bytes, std::byte{7});
    for (const std::uint64_t offset :
         {std::uint64_t{0}, mib / 2 - sector_bytes, overlay_bytes - content.size()}) {
        CW_ASSERT((*overlay)->write(offset, content).has_value());
    }
    CW_ASSERT((*overlay)->zero(mib / 4, 3 * block_bytes).has_value());
    CW_ASSERT((*overlay)->settle().has_value());
}

// What is read is what is read beside the writer, and what was written last.
void check_contents(Disk& disk, TargetIo& target, Overlay& overlay) {
    const auto beside =
        Overlay::open_for_reading(disk, "/volume/data", path, target, overlay_bytes);
    CW_ASSERT(beside && (*beside)->held_bytes() == overlay.held_bytes());
    ByteVector here(64 * kib), there(here.size());
    for (const std::uint64_t offset : {std::uint64_t{0}, overlay_bytes - here.size()}) {
        CW_ASSERT(overlay.read(offset, here) && (*beside)->read(offset, there) && here == there);
    }
    const ByteVector sector(sector_bytes, std::byte{5}), next(sector_bytes, std::byte{6});
    CW_ASSERT(overlay.write(sector_bytes, sector) && overlay.write(2 * sector_bytes, next));
    ByteVector back(2 * sector_bytes);
    CW_ASSERT(overlay.read(sector_bytes, back).has_value());
    CW_ASSERT(std::ranges::equal(Bytes(back).first(sector_bytes), sector));
    CW_ASSERT(std::ranges::equal(Bytes(back).subspan(sector_bytes), next));
}

void check_map(Disk& disk) {
    const auto target = open_target(disk);
    const auto overlay = open_overlay(disk, *target);
    const auto looked = Overlay::check(disk, "/volume/data", path, overlay_bytes);
    if (!overlay) {
        CW_ASSERT(!looked && looked.error().code == Errc::record_corrupt);
        return;
    }
    CW_ASSERT(looked && *looked == (*overlay)->held_bytes());
    std::uint64_t offset = 0, held = 0;
    for (Overlay::Run run; (run = (*overlay)->next_run(offset, mib)).length > 0;) {
        CW_ASSERT(run.offset >= offset && run.length <= mib);
        CW_ASSERT(run.offset + run.length <= overlay_bytes);
        held += align_up(run.length, block_bytes);
        offset = run.offset + run.length;
    }
    CW_ASSERT(held == (*overlay)->held_bytes());
    check_contents(disk, *target, **overlay);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteReader in({reinterpret_cast<const std::byte*>(data), size}, Errc::usage);
    const auto kind = in.u8();
    if (!kind) {
        return 0;
    }
    fakes::SimStorage storage(1);
    const auto disk = storage.make_disk();
    CW_ASSERT(disk->create_directories("/volume").has_value());
    const auto damage = [&](const fuzz::Repair& repair) {
        fuzz::put_file(*disk, path, fuzz::damaged(storage.contents(path), in, repair));
    };
    switch (*kind % 4) {
        case 0:
            write_redo(*disk);
            damage(fuzz::repair_block);
            check_redo(*disk);
            break;
        case 1:
            write_undo(*disk, *kind >= 128);
            damage(fuzz::repair_block);
            check_undo(*disk);
            break;
        case 2:
            write_state(*disk, {.point = *kind >= 128,
                                .words = *kind >= 192,
                                .group = (*kind & 16) != 0,
                                .promised = (*kind & 32) != 0});
            damage(fuzz::repair_file);
            check_state(*disk);
            break;
        default:
            write_map(*disk);
            damage(fuzz::repair_block);
            check_map(*disk);
    }
    return 0;
}
