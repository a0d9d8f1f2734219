// docs/errors.md from base/errors.def.
#pragma once

#include <string>

namespace cw::architecture {

std::string errors_document();

}  // namespace cw::architecture
