#include "appliance/cli/next_step.h"

#include <utility>

namespace cw::appliance {
namespace {

std::string said;

}  // namespace

void set_next_step(std::string text) {
    said = std::move(text);
}

const std::string& next_step() noexcept {
    return said;
}

}  // namespace cw::appliance
