// The hint of one disk of a failback: read, judged and put into its request.
#pragma once

#include "appliance/cli/cli.h"
#include "recovery/failback.h"

#include <string>

namespace cw::appliance {

struct HintChoice {
    std::string file;
    bool trusted = false;  // Somebody vouches for what cannot be shown.
};
inline constexpr const char* hint_used = "used";

// Puts the hint into `request`, which has its point, disk and target, if it can be believed; says
// what became of it. Errors: usage (it is of another disk), not_found, those of reading the file.
Result<std::string> take_hint(Cli& cli, const HintChoice& choice, const recovery::Catalog& catalog,
                              recovery::FailbackRequest& request);

}  // namespace cw::appliance
