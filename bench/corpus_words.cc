#include "bench/corpus_words.h"

#include <vector>

namespace cw::bench {
namespace {

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

}  // namespace

const std::string& draw_word(Dice& dice) noexcept {
    static const Vocabulary vocabulary;
    return vocabulary.draw(dice);
}

}  // namespace cw::bench
