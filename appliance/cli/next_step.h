// What the operator does after an error of this command, where the advice of the error's code is
// not it. One for the process, as the command is.
#pragma once

#include <string>

namespace cw::appliance {

void set_next_step(std::string text);
[[nodiscard]] const std::string& next_step() noexcept;  // Empty: the code's own advice.

}  // namespace cw::appliance
