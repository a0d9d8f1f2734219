// The checkout as the tests of this directory see it: our own source files by path.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cw::architecture {

// Absolute path of `relative` in the checkout.
std::string in_tree(std::string_view relative);
// The whole file; empty if there is none.
std::string read_text(const std::string& relative);
std::vector<std::string> lines_of(std::string_view text);

// Paths relative to the top, sorted, of files below `directory` ("" for the top) that end in one of
// `endings`. Skips build trees, installed packages and recorded corpora.
std::vector<std::string> files_below(const std::string& directory,
                                     const std::vector<std::string_view>& endings);
// All of our C++: .h and .cc.
const std::vector<std::string>& cpp_files();

// A row of a list file: the words before the first "#", or nothing for a comment or an empty line.
std::vector<std::string> words_of(std::string_view line);

}  // namespace cw::architecture
