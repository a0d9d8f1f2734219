// NbdReader: reads a disk that somebody else exports over NBD, and asks which parts of it changed.
//
// Every call is bounded by a timeout: a machine that hangs must not take the agent with it.
// Thread-safety: none.
#pragma once

#include "agent/scan/block_set.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"

#include <memory>
#include <string>

struct nbd_handle;

namespace cw::agent {

class NbdReader {
public:
    struct Target {
        std::string socket;  // Unix socket
        std::string export_name;
        std::string bitmap = {};  // Of QEMU's: makes dirty() possible. Empty: none.
    };
    // Errors: source_gone.
    static Result<NbdReader> open(const Target& target, Clock& clock);

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    // Errors: source_gone; afterwards the reader is of no use.
    Result<void> read(std::uint64_t offset, MutableBytes out);
    // The 64 KiB blocks that the bitmap names. Errors: source_gone.
    Result<BlockSet> dirty();

private:
    struct Close {
        void operator()(nbd_handle* handle) const noexcept;
    };
    using Handle = std::unique_ptr<nbd_handle, Close>;
    NbdReader(Handle handle, Clock& clock) : handle_(std::move(handle)), clock_(&clock) {}
    Result<void> complete(std::int64_t cookie, const char* what);
    Result<void> connected();

    Handle handle_;
    Clock* clock_;
    std::string context_;
    std::uint64_t size_ = 0;
};

}  // namespace cw::agent
