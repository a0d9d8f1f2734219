// What the texts of settings must look like: addresses, URLs, paths, hours. A typing error is found
// by `causeway config check`, not by the first outage.
#pragma once

#include "base/error.h"

#include <string_view>

namespace cw::config {

// `name` is "section.key"; texts without a rule are taken as they are. Errors: config_invalid.
Result<void> check_text(std::string_view name, std::string_view text);

}  // namespace cw::config
