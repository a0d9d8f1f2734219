#include "bench/corpus_content.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace cw::bench {
namespace {

// Appends until the output is full; what does not fit is cut.
class Sink {
public:
    explicit Sink(MutableBytes out) : out_(out) {}
    void put(std::string_view text) noexcept {
        const std::size_t count = std::min(text.size(), out_.size() - at_);
        std::memcpy(out_.data() + at_, text.data(), count);
        at_ += count;
    }
    void put(const void* data, std::size_t size) noexcept {
        put(std::string_view(static_cast<const char*>(data), size));
    }
    template <typename T>
    void value(T v) noexcept {
        put(&v, sizeof v);
    }
    void number(std::uint64_t v) noexcept {
        char text[24];
        put(text, static_cast<std::size_t>(std::snprintf(text, sizeof text, "%llu",
                                                         static_cast<unsigned long long>(v))));
    }
    void fill(char c, std::size_t count) noexcept {
        count = std::min(count, out_.size() - at_);
        std::memset(out_.data() + at_, c, count);
        at_ += count;
    }
    // Repeats `count` bytes from the last 48 KiB: people and compilers write the same things again.
    void echo(Dice& dice, std::size_t count) noexcept {
        const std::size_t reach = std::min<std::size_t>(at_, 48 * 1024);
        count = std::min(count, out_.size() - at_);
        if (reach <= count) {
            return;
        }
        const std::size_t back = count + dice.below(static_cast<std::uint32_t>(reach - count));
        std::memcpy(out_.data() + at_, out_.data() + at_ - back, count);
        at_ += count;
    }
    [[nodiscard]] bool full() const noexcept { return at_ == out_.size(); }
    [[nodiscard]] std::size_t left() const noexcept { return out_.size() - at_; }

private:
    MutableBytes out_;
    std::size_t at_ = 0;
};

// 8,192 made-up words of plausible syllables; rank r is drawn with probability ~ 1 / (r + 8), as in
// natural text and identifiers.
class Vocabulary {
public:
    static constexpr std::size_t words_count = 8192;
    static constexpr std::uint32_t draws_count = 65536;
    Vocabulary() {
        static constexpr std::string_view syllables[] = {
            "re",   "co",  "ver", "point", "seg", "ment", "ex",  "tent", "la",    "ti",  "no",
            "con",  "fi",  "gu",  "ra",    "in",  "dex",  "da",  "ta",   "str",   "al",  "lo",
            "cate", "get", "set", "is",    "to",  "from", "pro", "cess", "er",    "ror", "num",
            "ber",  "buf", "fer", "max",   "min", "len",  "ptr", "ne",   "twork", "ing", "ed"};
        Dice dice(20261120);
        words_.reserve(words_count);
        for (std::size_t i = 0; i < words_count; ++i) {
            std::string word;
            const std::size_t parts = 1 + (i > 64 ? 1 : 0) + dice.below(2) + (i > 1024 ? 1 : 0);
            for (std::size_t p = 0; p < parts; ++p) {
                word += syllables[dice.below(std::size(syllables))];
            }
            words_.push_back(word);
        }
        double sum = 0;
        for (std::size_t r = 0; r < words_count; ++r) {
            sum += 1.0 / static_cast<double>(r + 8);
        }
        double upto = 0;
        std::size_t place = 0;
        for (std::size_t r = 0; r < words_count; ++r) {
            upto += 1.0 / static_cast<double>(r + 8) / sum;
            const auto end = static_cast<std::size_t>(upto * static_cast<double>(drawn_.size()));
            for (; place < std::min(end, drawn_.size()); ++place) {
                drawn_[place] = static_cast<std::uint16_t>(r);
            }
        }
        for (; place < drawn_.size(); ++place) {
            drawn_[place] = 0;
        }
    }
    [[nodiscard]] const std::string& draw(Dice& dice) const noexcept {
        return words_[drawn_[dice.below(draws_count)]];
    }

private:
    std::vector<std::string> words_;
    std::array<std::uint16_t, draws_count> drawn_{};
};

const Vocabulary& vocabulary() {
    static const Vocabulary v;
    return v;
}

// A file speaks of its own few things: words of its topic come again and again.
class Topic {
public:
    explicit Topic(Dice& dice) {
        for (const std::string*& word : words_) {
            word = &vocabulary().draw(dice);
        }
    }
    [[nodiscard]] const std::string& draw(Dice& dice) const noexcept {
        return dice.chance(55) ? *words_[dice.below(own_words)] : vocabulary().draw(dice);
    }

private:
    static constexpr std::uint32_t own_words = 48;
    std::array<const std::string*, own_words> words_;
};

void put_statement(Sink& sink, Dice& dice, const Topic& topic, std::size_t depth) {
    static constexpr std::string_view types[] = {"int ",  "const auto ", "std::size_t ",
                                                 "bool ", "struct ",     "static void "};
    static constexpr std::string_view calls[] = {"->", ".", "::", "_"};
    sink.fill(' ', depth * 4);
    switch (dice.below(6)) {
        case 0:
            sink.put("if (");
            sink.put(topic.draw(dice));
            sink.put(dice.chance(50) ? " == nullptr) {\n" : " < 0) {\n");
            sink.fill(' ', depth * 4 + 4);
            sink.put("return ");
            sink.put(topic.draw(dice));
            sink.put(";\n");
            sink.fill(' ', depth * 4);
            sink.put("}\n");
            return;
        case 1:
            sink.put("// ");
            for (std::uint32_t i = 4 + dice.below(8); i > 0; --i) {
                sink.put(vocabulary().draw(dice));
                sink.put(" ");
            }
            sink.put("\n");
            return;
        case 2:
            sink.put(types[dice.below(std::size(types))]);
            [[fallthrough]];
        default:
            sink.put(topic.draw(dice));
            sink.put(calls[dice.below(std::size(calls))]);
            sink.put(topic.draw(dice));
            sink.put(dice.chance(40) ? " = " : "(");
            sink.put(topic.draw(dice));
            if (dice.chance(30)) {
                sink.put(", ");
                sink.number(dice.below(dice.chance(80) ? 64 : 100'000));
            }
            sink.put(dice.chance(50) ? ");\n" : ";\n");
    }
}

}  // namespace

void fill_source_text(Dice& dice, MutableBytes out) {
    Sink sink(out);
    const Topic topic(dice);
    sink.put(
        "/* Licensed under terms and conditions that every file repeats at its top,\n"
        " * distributed on an \"as is\" basis, without warranties of any kind. */\n\n");
    std::size_t depth = 0;
    while (!sink.full()) {
        if (depth == 0) {
            sink.put("\nstatic int ");
            sink.put(topic.draw(dice));
            sink.put("_");
            sink.put(topic.draw(dice));
            sink.put("(struct ");
            sink.put(topic.draw(dice));
            sink.put(" *self)\n{\n");
            depth = 1;
        }
        put_statement(sink, dice, topic, depth);
        if (dice.chance(22)) {
            sink.echo(dice, 24 + dice.below(120));
        }
        if (dice.chance(12)) {
            --depth;
            sink.fill(' ', depth * 4);
            sink.put("}\n");
        } else if (depth < 4 && dice.chance(8)) {
            ++depth;
        }
    }
}

void fill_html(Dice& dice, MutableBytes out) {
    Sink sink(out);
    const Topic topic(dice);
    static constexpr std::string_view tags[] = {"p", "li", "td", "span", "code", "h3", "dd"};
    sink.put("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"></head><body>\n");
    while (!sink.full()) {
        const std::string_view tag = tags[dice.below(std::size(tags))];
        sink.put("<");
        sink.put(tag);
        if (dice.chance(40)) {
            sink.put(" class=\"");
            sink.put(topic.draw(dice));
            sink.put("\"");
        }
        sink.put(">");
        for (std::uint32_t i = 3 + dice.below(20); i > 0; --i) {
            sink.put(topic.draw(dice));
            sink.put(dice.chance(8) ? ", " : " ");
        }
        if (dice.chance(25)) {
            sink.put("<a href=\"../");
            sink.put(topic.draw(dice));
            sink.put("/");
            sink.put(vocabulary().draw(dice));
            sink.put(".html\">");
            sink.put(topic.draw(dice));
            sink.put("</a>");
        }
        sink.put("</");
        sink.put(tag);
        sink.put(">\n");
        if (dice.chance(45)) {
            sink.echo(dice, 40 + dice.below(200));
        }
    }
}

void fill_log(Dice& dice, MutableBytes out) {
    Sink sink(out);
    static constexpr std::string_view events[] = {
        " INFO  worker-%u request completed status=%u bytes=%u path=/api/v1/",
        " DEBUG worker-%u cache lookup shard=%u age_ms=%u key=",
        " WARN  worker-%u slow query rows=%u duration_us=%u table=",
        " INFO  worker-%u session opened port=%u id=%u user="};
    std::uint64_t time_ms = 1'700'000'000'000 + dice.below(1'000'000'000);
    const Topic topic(dice);
    char line[160];
    while (!sink.full()) {
        time_ms += dice.below(250);
        const auto s = static_cast<unsigned>(time_ms / 1000 % 86'400);
        std::snprintf(line, sizeof line, "2026-11-20T%02u:%02u:%02u.%03uZ", s / 3600, s / 60 % 60,
                      s % 60, static_cast<unsigned>(time_ms % 1000));
        sink.put(line);
        char event[160];
        const std::string_view form = events[dice.below(std::size(events))];
        std::snprintf(event, sizeof event, form.data(), dice.below(16), 200 + dice.below(4),
                      dice.below(100'000));
        sink.put(event);
        sink.put(topic.draw(dice));
        if (dice.chance(25)) {
            sink.put("/");
            sink.number(dice.below(1'000'000));
        }
        sink.put(" host=app-03.internal.example build=7f3c21d\n");
    }
}

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
