// Pure functions whose results are remembered while a schedule runs.
//
// A vault is read again and again, by collectors, by whoever takes over and by the oracles, and
// most of a schedule's time went into verifying the very same signatures. The linker puts these in
// place of the real functions (--wrap, see CMakeLists.txt), which are called once per input. What
// is remembered is found by SHA-256 of all of the input, so that no other input can be taken for
// it; a signature that does not verify is never remembered, and one that was made here for the very
// same key and message is known to. Making a key ready for signing costs as much as signing, so
// keys are kept ready; the first signature is compared with the real function's. Thread-safety:
// none; one process, one schedule at a time.
#pragma once

namespace cw::sim {

// A schedule begins: its keys are its own.
void forget_remembered();

}  // namespace cw::sim
