#include "base/core_files.h"

#include <sys/prctl.h>
#include <sys/resource.h>

namespace cw {

void forbid_core_files() noexcept {
    (void)::prctl(PR_SET_DUMPABLE, 0);
    const rlimit none{0, 0};
    (void)::setrlimit(RLIMIT_CORE, &none);  // Also where a pipe takes cores from everybody.
}

}  // namespace cw
