// A file that is itself the root of a mounted file system, as qemu-storage-daemon shows the disk
// within an image. Device and inode of it are of that mount: they say nothing of which file it is
// when it is mounted again. Its place does.
#pragma once

#include <string>
#include <string_view>

namespace cw::volume {

// `mountinfo`: as in /proc/self/mountinfo; `place`: without symbolic links; `major_minor`: of the
// device that it is on. A file of a real device that is mounted elsewhere (bind) is none.
bool is_mounted_file(std::string_view mountinfo, std::string_view major_minor,
                     std::string_view place);

}  // namespace cw::volume
