// Content in records: programs, databases, media, file system metadata.
#include "bench/corpus_words.h"

namespace cw::bench {
namespace {

// Instructions by template: opcode bytes are few and frequent, registers vary, displacements are
// small, call targets are nearly random.
void put_code(Sink& sink, Dice& dice, std::size_t bytes) {
    static constexpr std::string_view ops[] = {
        "\x48\x89", "\x48\x8b", "\x8b",     "\x0f\xb6", "\x48\x8d", "\x85\xc0", "\x31\xc0",
        "\x83",     "\x48\x83", "\x41\x89", "\x4c\x89", "\x39",     "\xf3\x0f", "\x66\x0f"};
    static constexpr std::string_view epilogues[] = {
        "\x5b\x5d\x41\x5c\xc3\x66\x90", "\xc3\x0f\x1f\x44", "\x48\x83\xc4\x28\x5b\x5d\xc3\x90",
        "\x55\x48\x89\xe5\x41\x54\x53\x48\x83\xec", "\xf3\x0f\x1e\xfa\x41\x57\x41\x56\x41\x55"};
    const std::size_t end = sink.left() > bytes ? sink.left() - bytes : 0;
    std::array<std::uint32_t, 64> targets;
    for (std::uint32_t& target : targets) {
        target = static_cast<std::uint32_t>(dice.next()) & 0x000fffff;
    }
    while (sink.left() > end) {
        const std::uint64_t roll = dice.next();
        const auto choice = static_cast<std::uint32_t>(roll & 127);
        if (choice < 70) {
            sink.put(ops[(roll >> 8) % 6 + (choice < 14 ? 8 : 0)]);
            // ModRM: some registers are much more usual than others.
            static constexpr std::array<std::uint8_t, 16> modrm{0x45, 0x44, 0x47, 0x43, 0x7d, 0xc7,
                                                                0x55, 0x4d, 0xc0, 0xd8, 0xfb, 0x75,
                                                                0xe5, 0x6c, 0x5d, 0x04};
            sink.value(modrm[((roll >> 16) & 15) & ((roll >> 20) & 15)]);
            if (choice < 52) {
                sink.value(static_cast<std::uint8_t>(((roll >> 24) & (roll >> 32) & 0x1f) * 8));
            }
        } else if (choice < 92) {
            sink.put(choice < 84 ? "\xe8" : "\x48\x8d\x05");
            const std::uint32_t target = (roll >> 40 & 3) != 0
                                             ? targets[(roll >> 42) & 63]
                                             : static_cast<std::uint32_t>(roll >> 44);
            sink.value(target - static_cast<std::uint32_t>(sink.left() & 0xff0));
        } else if (choice < 110) {
            sink.value(static_cast<std::uint8_t>(0x74 + ((roll >> 8) & 1)));
            sink.value(static_cast<std::uint8_t>((roll >> 9) & 0x7f));
        } else if (choice < 118) {
            sink.echo(dice, 16 + ((roll >> 8) & 63));
        } else if (choice < 126) {
            sink.put(epilogues[(roll >> 8) % std::size(epilogues)]);
        } else {
            sink.value(static_cast<std::uint32_t>(roll >> 32));
        }
    }
}

// Relocations and symbols: ascending addresses in fixed records.
void put_tables(Sink& sink, Dice& dice, std::size_t bytes) {
    const std::size_t end = sink.left() > bytes ? sink.left() - bytes : 0;
    std::uint64_t address = 0x400000 + dice.below(1 << 20) * 16;
    std::uint64_t target = 0x1000 + dice.below(1 << 16);
    while (sink.left() > end) {
        address += 8 * (1 + (dice.chance(20) ? dice.below(16) : 0));
        target += 16 * (1 + dice.below(24));
        sink.value(address);
        sink.value(std::uint64_t{8});
        sink.value(target);
    }
}

void put_strings(Sink& sink, Dice& dice, std::size_t bytes) {
    const std::size_t end = sink.left() > bytes ? sink.left() - bytes : 0;
    const Topic topic(dice);
    while (sink.left() > end) {
        sink.put("_ZN2");
        sink.put(topic.draw(dice));
        sink.number(dice.below(30));
        sink.put(topic.draw(dice));
        sink.put(dice.chance(50) ? "EPKcm" : "Ev");
        sink.value('\0');
    }
}

}  // namespace

void fill_program(Dice& dice, MutableBytes out) {
    Sink sink(out);
    sink.put(
        std::string_view("\x7f"
                         "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0",
                         24));
    while (!sink.full()) {
        put_code(sink, dice, 24 * 1024 + dice.below(64 * 1024));
        put_tables(sink, dice, 2 * 1024 + dice.below(10 * 1024));
        put_strings(sink, dice, 2 * 1024 + dice.below(12 * 1024));
        sink.fill('\0', dice.below(2048));
    }
}

namespace {

constexpr std::size_t page_bytes = 8192, page_header_bytes = 24, row_pointer_bytes = 4;

struct Row {
    std::uint32_t transaction = 0;
    std::uint32_t id = 0;
    std::uint64_t time_us = 0;
    std::uint32_t amount = 0;
};

void put_row(Sink& sink, Dice& dice, const Topic& topic, const Row& row) {
    sink.value(row.transaction);
    sink.value(std::uint32_t{0});
    sink.value(std::uint32_t{0x00090006});
    sink.value(std::uint16_t{0x0802});
    sink.value(std::uint16_t{0x0018});
    sink.value(row.id);
    sink.value(row.time_us);
    sink.value(row.amount);
    sink.put(topic.draw(dice));
    sink.put("@");
    sink.put(topic.draw(dice));
    sink.put(".example");
    sink.put("{\"state\": \"");
    sink.put(dice.chance(70) ? "paid" : "open");
    sink.put("\", \"ref\": \"");
    char ref[24];
    std::snprintf(ref, sizeof ref, "%06x\", \"tags\": []}", dice.below(1 << 24));
    sink.put(ref);
}

// Rows from the end downwards, pointers from the start upwards, a gap between; some rows are old
// versions that an update left behind.
void fill_heap_page(Dice& dice, MutableBytes page, const Topic& topic, Row& row) {
    std::array<std::byte, 256> buffer{};
    std::memset(page.data(), 0, page.size());
    Sink header(page);
    header.value(std::uint64_t{0x16b3748} + row.transaction);
    header.value(static_cast<std::uint32_t>(dice.next()));
    std::size_t low = page_header_bytes, high = page.size();
    const std::size_t keep_free = dice.chance(25) ? dice.below(3000) : 0;
    for (;;) {
        if (dice.chance(75)) {
            row.id += 1;
            row.time_us += dice.below(2'000'000);
            row.amount = dice.below(dice.chance(60) ? 500 : 200'000);
        }
        row.transaction += dice.below(3);
        Sink sink(buffer);
        put_row(sink, dice, topic, row);
        const std::size_t size = (buffer.size() - sink.left() + 7) / 8 * 8;
        if (high - low < size + row_pointer_bytes + keep_free) {
            break;
        }
        high -= size;
        std::memcpy(page.data() + high, buffer.data(), size);
        Sink pointer(page.subspan(low, row_pointer_bytes));
        pointer.value(static_cast<std::uint32_t>(high | 0x8000 | size << 17));
        low += row_pointer_bytes;
    }
}

void fill_index_page(Dice& dice, MutableBytes page, Row& row) {
    std::memset(page.data(), 0, page.size());
    Sink sink(page.first(page.size() * (60 + dice.below(35)) / 100));
    sink.value(std::uint64_t{0x16b3748} + row.transaction);
    sink.fill('\0', 16);
    std::uint32_t block = dice.below(1 << 16), key = row.id;
    while (!sink.full()) {
        key += 1 + (dice.chance(10) ? dice.below(64) : 0);
        block += dice.chance(12) ? 1 : 0;
        sink.value(block << 16);
        sink.value(static_cast<std::uint16_t>(1 + key % 60));
        sink.value(std::uint16_t{16});
        sink.value(std::uint64_t{key});
    }
}

}  // namespace

void fill_database(Dice& dice, MutableBytes out) {
    const Topic topic(dice);
    Row row{.transaction = dice.below(1 << 24),
            .id = dice.below(1 << 24),
            .time_us = 700'000'000'000'000 + dice.next() % 1'000'000'000'000,
            .amount = 0};
    const bool index = dice.chance(25);
    while (!out.empty()) {
        const MutableBytes page = out.first(std::min(out.size(), page_bytes));
        if (page.size() < page_bytes) {
            std::memset(page.data(), 0, page.size());
        } else if (index) {
            fill_index_page(dice, page, row);
        } else {
            fill_heap_page(dice, page, topic, row);
        }
        out = out.subspan(page.size());
    }
}

void fill_media(Dice& dice, MutableBytes out) {
    Sink sink(out);
    sink.put(std::string_view("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16));
    while (!sink.full()) {
        sink.value(dice.next());
    }
}

void fill_metadata(Dice& dice, MutableBytes out) {
    Sink sink(out);
    std::uint32_t place = dice.below(1 << 24), time_s = 1'700'000'000 + dice.below(1 << 24);
    while (!sink.full()) {  // Inodes of 256 bytes: mostly alike, mostly empty.
        const bool used = dice.chance(70);
        sink.value(std::uint16_t{used ? std::uint16_t{0x81a4} : std::uint16_t{0}});
        sink.value(std::uint16_t{0});
        sink.value(used ? dice.below(1 << 18) : 0U);
        for (int i = 0; i < 4; ++i) {
            time_s += dice.below(4);
            sink.value(used ? time_s : 0U);
        }
        sink.fill('\0', 16);
        sink.value(std::uint32_t{0x0001f30a});
        place += dice.below(64);
        sink.value(used ? place : 0U);
        sink.fill('\0', 256 - 48);
    }
}

}  // namespace cw::bench
