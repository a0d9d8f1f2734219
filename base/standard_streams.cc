#include "base/standard_streams.h"

#include <cstdlib>

#include <fcntl.h>
#include <unistd.h>

namespace cw {

void keep_standard_streams() noexcept {
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
        // The lowest free number is taken, which is this one: those below it are open by now.
        if (::fcntl(stream, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != stream) {
            std::abort();
        }
    }
}

}  // namespace cw
