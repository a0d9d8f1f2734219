// A number of a standard stream that is closed belongs to the next file that is opened: what the
// program then prints or logs lands in it, in a cache or a disk of a customer's.
#pragma once

namespace cw {

// For every program, first thing in main(): /dev/null takes the place of each standard stream that
// is closed. Ends the program if that cannot be had: nobody could be told.
void keep_standard_streams() noexcept;

}  // namespace cw
