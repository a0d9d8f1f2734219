// Keys must not reach a core file, nor another process of the same user through ptrace or /proc.
#pragma once

namespace cw {

// For every program that holds keys or customers' data, first thing in main().
void forbid_core_files() noexcept;

}  // namespace cw
