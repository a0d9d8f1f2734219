#include "agent/nbd/nbd_reader.h"

#include <algorithm>

#include <libnbd.h>

namespace cw::agent {
namespace {

// As NBD_NULL_COMPLETION, which is C only.
constexpr nbd_completion_callback no_completion{
    .callback = nullptr, .user_data = nullptr, .free = nullptr};

constexpr std::int64_t patience_ns = 30 * ns_per_s;
constexpr std::size_t read_bytes_max = 1024 * 1024;
constexpr std::uint64_t status_bytes_max = 1ULL << 30;

std::unexpected<Error> fail_nbd(std::string_view what) {
    const char* const text = ::nbd_get_error();
    return fail(Errc::source_gone,
                std::string(what) + ": " + (text != nullptr ? text : "unknown NBD error"));
}

struct Extents {  // What one block-status reply said of our context.
    const std::string* context = nullptr;
    std::uint64_t at = 0, end = 0;
    BlockSet* dirty = nullptr;
    bool beyond = false;
};

int take_extents(void* user, const char* context, std::uint64_t offset, std::uint32_t* entries,
                 std::size_t count, int* /*error*/) {
    auto& out = *static_cast<Extents*>(user);
    if (*out.context != context || offset != out.at) {
        return 0;
    }
    for (std::size_t i = 0; i + 1 < count && out.at < out.end; i += 2) {
        const std::uint64_t length = std::min<std::uint64_t>(entries[i], out.end - out.at);
        if (length == 0) {
            out.beyond = true;
            return 0;
        }
        if ((entries[i + 1] & 1U) != 0) {
            out.dirty->add_range(out.at, length);
        }
        out.at += length;
    }
    return 0;
}

}  // namespace

void NbdReader::Close::operator()(nbd_handle* handle) const noexcept {
    ::nbd_close(handle);
}

Result<NbdReader> NbdReader::open(const Target& target, Clock& clock) {
    Handle handle(::nbd_create());
    if (!handle) {
        return fail_nbd("NBD handle");
    }
    NbdReader reader(std::move(handle), clock);
    nbd_handle* const nbd = reader.handle_.get();
    if (::nbd_set_export_name(nbd, target.export_name.c_str()) != 0) {
        return fail_nbd("NBD export name");
    }
    if (!target.bitmap.empty()) {
        reader.context_ = "qemu:dirty-bitmap:" + target.bitmap;
        if (::nbd_add_meta_context(nbd, reader.context_.c_str()) != 0) {
            return fail_nbd("NBD bitmap");
        }
    }
    if (::nbd_aio_connect_unix(nbd, target.socket.c_str()) != 0) {
        return fail_nbd("connect to " + target.socket);
    }
    CW_TRY(reader.connected());
    const std::int64_t size = ::nbd_get_size(nbd);
    if (size <= 0) {
        return fail_nbd("size of export " + target.export_name);
    }
    reader.size_ = static_cast<std::uint64_t>(size);
    if (!target.bitmap.empty() && ::nbd_can_meta_context(nbd, reader.context_.c_str()) != 1) {
        return fail(Errc::source_gone,
                    "export " + target.export_name + " has no bitmap " + target.bitmap);
    }
    return reader;
}

Result<void> NbdReader::connected() {
    nbd_handle* const nbd = handle_.get();
    const Nanos deadline = clock_->boot() + patience_ns;
    while (::nbd_aio_is_connecting(nbd) == 1) {
        if (deadline - clock_->boot() <= 0) {
            return fail(Errc::source_gone, "the NBD server does not answer");
        }
        if (::nbd_poll(nbd, 1000) < 0) {
            return fail_nbd("connect");
        }
    }
    return ::nbd_aio_is_ready(nbd) == 1 ? Result<void>{} : fail_nbd("connect");
}

// Drives the connection until one command is done.
Result<void> NbdReader::complete(std::int64_t cookie, const char* what) {
    nbd_handle* const nbd = handle_.get();
    if (cookie < 0) {
        return fail_nbd(what);
    }
    const Nanos deadline = clock_->boot() + patience_ns;
    for (;;) {
        const int done = ::nbd_aio_command_completed(nbd, static_cast<std::uint64_t>(cookie));
        if (done != 0) {
            return done > 0 ? Result<void>{} : fail_nbd(what);
        }
        if (deadline - clock_->boot() <= 0) {
            // The reply may still be written into the caller's memory: the handle must go first.
            handle_.reset();
            return fail(Errc::source_gone, std::string(what) + ": no answer in 30 s");
        }
        if (::nbd_poll(nbd, 1000) < 0) {
            return fail_nbd(what);
        }
    }
}

Result<void> NbdReader::read(std::uint64_t offset, MutableBytes out) {
    CW_ASSERT(offset <= size_ && out.size() <= size_ - offset);
    while (!out.empty()) {
        if (!handle_) {
            return fail(Errc::source_gone, "the NBD connection was given up");
        }
        const std::size_t step = std::min(out.size(), read_bytes_max);
        CW_TRY(complete(::nbd_aio_pread(handle_.get(), out.data(), step, offset, no_completion, 0),
                        "read"));
        out = out.subspan(step);
        offset += step;
    }
    return {};
}

Result<BlockSet> NbdReader::dirty() {
    CW_ASSERT(!context_.empty());
    BlockSet dirty;
    Extents extents{.context = &context_, .dirty = &dirty};
    while (extents.at < size_) {
        if (!handle_) {
            return fail(Errc::source_gone, "the NBD connection was given up");
        }
        const std::uint64_t before = extents.at;
        const std::uint64_t step = std::min(size_ - before, status_bytes_max);
        extents.end = before + step;
        const nbd_extent_callback told{
            .callback = take_extents, .user_data = &extents, .free = nullptr};
        CW_TRY(complete(::nbd_aio_block_status(handle_.get(), step, before, told, no_completion, 0),
                        "block status"));
        if (extents.at == before || extents.beyond) {
            return fail(Errc::source_gone, "the NBD server does not say what changed");
        }
    }
    return dirty;
}

}  // namespace cw::agent
