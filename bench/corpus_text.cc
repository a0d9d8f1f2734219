// Content that people and programs write as text.
#include "bench/corpus_words.h"

namespace cw::bench {
namespace {

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
                sink.put(draw_word(dice));
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
            sink.put(draw_word(dice));
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

}  // namespace cw::bench
