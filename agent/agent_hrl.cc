// An agent whose epochs are kept as replica logs as well.
#include "agent/agent.h"

#include <algorithm>

namespace cw::agent {
namespace {

// Names that people gave may be anything; a directory's is a word.
bool is_word(const std::string& name) {
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.';
    };
    return !name.empty() && name.front() != '.' && std::ranges::all_of(name, fits);
}

}  // namespace

Result<void> Agent::open_hrl_outputs(const std::vector<bool>& provable) {
    hrl_outputs_.clear();
    for (std::size_t slot = 0; slot < captures_.size() && !options_.hrl_output.empty(); ++slot) {
        const std::string& name = options_.disks[slot].name;
        const std::string id = to_string(captures_[slot]->disk());
        CW_TRY_ASSIGN(
            auto output,
            HrlOutput::open({.directory = options_.hrl_output + "/" + (is_word(name) ? name : id),
                             .state_path = options_.state_directory + "/hrl-output." + id,
                             .disk_bytes = captures_[slot]->image().size(),
                             .bytes_max = options_.hrl_output_bytes},
                            {*disk_, clock_, random_}));
        CW_TRY(provable[slot] ? output->expect_changes() : output->changed_unseen());
        hrl_outputs_.push_back(std::move(output));
    }
    return {};
}

// Attached: what the bitmaps recorded is on its way to the server, and in none of them any more.
Result<std::vector<HrlOutput*>> Agent::told_hrl_outputs(const std::vector<bool>& provable) {
    std::vector<HrlOutput*> outputs;
    for (std::size_t slot = 0; slot < hrl_outputs_.size(); ++slot) {
        if (provable[slot]) {
            CW_TRY(hrl_outputs_[slot]->changed(captures_[slot]->missed()));
        }
        outputs.push_back(hrl_outputs_[slot].get());
    }
    return outputs;
}

}  // namespace cw::agent
