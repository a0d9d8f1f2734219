// ControlRefusals: whom the control port turned away and why, in the log. As at the replication
// port a flood of strangers must not fill it: some lines a second, and the next one tells how many
// were left out.
//
// Thread-safety: any thread.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace cw::appliance {

class ControlRefusals {
public:
    // `now_ns`: of a steady clock.
    void tell(std::string_view event, const std::string& peer, const Error& error,
              std::int64_t now_ns);

private:
    std::mutex mutex_;
    std::int64_t second_began_ns_ = -1'000'000'000;
    unsigned lines_left_ = 0;
    std::uint64_t left_out_ = 0;
};

}  // namespace cw::appliance
