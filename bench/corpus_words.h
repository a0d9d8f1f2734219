// What the generators of content write with: a sink that never overflows, and words that repeat as
// they do in what people and compilers write.
#pragma once

#include "bench/corpus_content.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace cw::bench {

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

// One of 8,192 made-up words of plausible syllables; rank r is drawn with probability ~ 1 / (r +
// 8), as in natural text and identifiers. The same words for everyone.
const std::string& draw_word(Dice& dice) noexcept;

// A file speaks of its own few things: words of its topic come again and again.
class Topic {
public:
    explicit Topic(Dice& dice) {
        for (const std::string*& word : words_) {
            word = &draw_word(dice);
        }
    }
    [[nodiscard]] const std::string& draw(Dice& dice) const noexcept {
        return dice.chance(55) ? *words_[dice.below(own_words)] : draw_word(dice);
    }

private:
    static constexpr std::uint32_t own_words = 48;
    std::array<const std::string*, own_words> words_;
};

}  // namespace cw::bench
