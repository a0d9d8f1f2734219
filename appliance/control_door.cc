#include "appliance/control_door.h"

#include "base/assert.h"
#include "base/net.h"
#include "base/tls.h"

#include <chrono>
#include <limits>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

namespace cw::appliance {
namespace {

// Where OpenSSL keeps a context's door for us. A connection's guest is kept in a slot with a
// callback: see guest_slot().
int door_slot() {
    static const int slot = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    CW_ASSERT(slot >= 0);
    return slot;
}

std::int64_t now_ns() {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

}  // namespace

// Freed with its connection, whose socket is still open then: what is ended is never another's.
int ControlDoor::guest_slot() {
    static const int slot = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, on_free);
    CW_ASSERT(slot >= 0);
    return slot;
}

void ControlDoor::on_free(void* /*ssl*/, void* guest, CRYPTO_EX_DATA* /*data*/, int /*index*/,
                          long /*number*/, void* /*pointer*/) {
    if (guest != nullptr) {
        Guest& gone = *static_cast<Guest*>(guest);
        gone.door->tell_why(gone);
        gone.door->leave(gone);
    }
}

void ControlDoor::on_handshake(const SSL* ssl, int where, int result) {
    if (auto* const guest = static_cast<Guest*>(SSL_get_ex_data(ssl, guest_slot()))) {
        guest->door->note_progress(*guest, where, result);
        return;
    }
    if ((where & SSL_CB_HANDSHAKE_START) == 0) {
        return;
    }
    // The context that listens: which one serves it is settled later in the handshake.
    void* const door = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), door_slot());
    CW_ASSERT(door != nullptr);
    Guest* const guest = static_cast<ControlDoor*>(door)->arrive(SSL_get_fd(ssl));
    SSL* const connection = const_cast<SSL*>(ssl);
    CW_ASSERT(SSL_set_ex_data(connection, guest_slot(), guest) == 1);
    SSL_set_info_callback(connection, on_handshake);  // Another context has none.
}

void ControlDoor::note_progress(Guest& guest, int where, int result) {
    const std::lock_guard lock(mutex_);
    guest.shaken |= (where & SSL_CB_HANDSHAKE_DONE) != 0;
    if (where == SSL_CB_ACCEPT_EXIT && result <= 0 && ERR_peek_error() != 0) {
        guest.broken = true;
        ERR_set_mark();  // What the connection's end adds is not the reason.
    }
}

// Before its socket is closed. Who has shaken hands and was not ended by us was served, or went.
void ControlDoor::tell_why(const Guest& guest) {
    Error why{Errc::peer_slow, "no handshake in time"};
    bool shaken = false;
    {
        const std::lock_guard lock(mutex_);
        shaken = guest.shaken;
        if (shaken && !guest.ended) {
            return;
        }
        if (guest.broken && !guest.ended) {
            ERR_pop_to_mark();
            why = tls_error("handshake");  // Also empties the queue.
        } else if (shaken) {
            why.detail = "no whole request in time";
        }
    }
    refusals_.tell(shaken ? "control.http.refused" : "control.tls.refused", guest.peer, why,
                   now_ns());
}

void ControlDoor::refused(const SSL& peer, const Error& error) {
    refusals_.tell("control.http.refused", peer_name(SSL_get_fd(&peer)), error, now_ns());
}

void ControlDoor::watch(SSL_CTX& listening) {
    CW_ASSERT(SSL_CTX_set_ex_data(&listening, door_slot(), this) == 1);
    SSL_CTX_set_info_callback(&listening, on_handshake);
}

ControlDoor::Guest* ControlDoor::arrive(int fd) {
    Guest arrived{.door = this, .fd = fd, .since = now_ns(), .peer = peer_name(fd)};
    const std::lock_guard lock(mutex_);
    Guest& guest = guests_.emplace_back(std::move(arrived));
    changed_.notify_one();
    return &guest;
}

void ControlDoor::leave(const Guest& guest) {
    const std::lock_guard lock(mutex_);
    guests_.remove_if([&guest](const Guest& other) { return &other == &guest; });
}

void ControlDoor::set_trusted(const SSL& peer, bool trusted) {
    auto* const guest = static_cast<Guest*>(SSL_get_ex_data(&peer, guest_slot()));
    CW_ASSERT(guest != nullptr && guest->door == this);
    const std::lock_guard lock(mutex_);
    guest->trusted = trusted;
    guest->since = now_ns();  // What is answered has still to be sent.
    changed_.notify_one();
}

void ControlDoor::open() {
    CW_ASSERT(servers_.empty());
    for (std::size_t i = 0; i < served_max; ++i) {
        servers_.emplace_back([this] { serve(); });
    }
    guard_ = std::thread([this] { guard(); });
}

void ControlDoor::enter(std::function<void()> connection) {
    std::unique_lock lock(mutex_);
    taken_.wait(lock, [this] { return waiting_.size() < waiting_max; });
    waiting_.push_back(std::move(connection));
    came_.notify_one();
    changed_.notify_one();
}

void ControlDoor::close() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        came_.notify_all();
        changed_.notify_one();
    }
    for (std::thread& server : servers_) {
        server.join();
    }
    servers_.clear();
    if (guard_.joinable()) {
        guard_.join();
    }
}

void ControlDoor::serve() {
    std::unique_lock lock(mutex_);
    while (true) {
        ++idle_;
        came_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
        --idle_;
        if (waiting_.empty()) {
            --open_;
            changed_.notify_one();
            return;
        }
        const std::function<void()> connection = std::move(waiting_.front());
        waiting_.pop_front();
        taken_.notify_one();
        lock.unlock();
        connection();
        lock.lock();
    }
}

void ControlDoor::guard() {
    std::unique_lock lock(mutex_);
    while (open_ > 0) {
        const std::int64_t next = end_strangers(now_ns());
        if (next == std::numeric_limits<std::int64_t>::max()) {
            changed_.wait(lock);
        } else {
            changed_.wait_for(lock, std::chrono::nanoseconds(next));
        }
    }
}

// With mutex_. Returns in how many nanoseconds there may be more to do; max: when told.
std::int64_t ControlDoor::end_strangers(std::int64_t now) {
    std::size_t wanted = waiting_.size() > idle_ ? waiting_.size() - idle_ : 0;
    std::int64_t next = std::numeric_limits<std::int64_t>::max();
    for (Guest& guest : guests_) {
        if (guest.trusted || guest.ended) {
            continue;
        }
        const std::int64_t left =
            (wanted > 0 || closing_ ? patience_.others_ns : patience_.alone_ns) -
            (now - guest.since);
        if (left > 0) {
            next = std::min(next, left);
            continue;
        }
        guest.ended = true;
        ::shutdown(guest.fd, SHUT_RDWR);  // Its thread sees the end of the stream.
        wanted -= wanted > 0 ? 1 : 0;
    }
    return next;
}

}  // namespace cw::appliance
