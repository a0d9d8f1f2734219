// ControlDoor: the connections of the control port, a thread for each that is served. Strangers
// cannot keep it from operators: whoever has not shown an operator's certificate has a few seconds,
// and as soon as somebody waits, the eldest of them goes.
//
// Thread-safety: any thread. Lifetime: it outlives the servers whose queues and contexts it
// watches.
#pragma once

#include "appliance/control_refusals.h"
#include "base/clock.h"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <openssl/types.h>

namespace cw::appliance {

class ControlDoor {
public:
    // Connections that are served, and that wait for it; more are left in the kernel's queue.
    static constexpr std::size_t served_max = 16, waiting_max = 64;

    struct Patience {
        std::int64_t alone_ns = 10 * ns_per_s;  // A stranger, while nobody waits.
        std::int64_t others_ns = ns_per_s;      // A stranger, while somebody does.
    };
    explicit ControlDoor(Patience patience) : patience_(patience) {}
    ControlDoor() : ControlDoor(Patience{}) {}
    ~ControlDoor() { close(); }
    ControlDoor(const ControlDoor&) = delete;
    ControlDoor& operator=(const ControlDoor&) = delete;

    // Connections of this context are strangers from the first byte of their handshake on.
    void watch(SSL_CTX& listening);
    // The peer is an operator: it is served for as long as it likes.
    void admit(const SSL& peer) { set_trusted(peer, true); }
    // A request of a stranger has come whole and is being answered; afterwards it is one again.
    class Answering {
    public:
        Answering(ControlDoor& door, const SSL& peer) : door_(door), peer_(peer) {
            door_.set_trusted(peer_, true);
        }
        ~Answering() { door_.set_trusted(peer_, false); }
        Answering(const Answering&) = delete;
        Answering& operator=(const Answering&) = delete;

    private:
        ControlDoor& door_;
        const SSL& peer_;
    };

    // A request of `peer` was not for it to make: for the log.
    void refused(const SSL& peer, const Error& error);

    void open();                                   // Starts the threads. Once.
    void enter(std::function<void()> connection);  // Blocks while too many wait.
    // What waits is served, strangers with less patience; then joins. Nothing enters any more.
    void close();  // Idempotent.

private:
    struct Guest {
        ControlDoor* door;
        int fd;
        std::int64_t since;
        std::string peer;  // A connection that was reset has none any more.
        bool trusted = false;
        bool ended = false;
        bool shaken = false;  // Its handshake is done.
        bool broken = false;  // OpenSSL's queue says why it never will be.
    };
    static int guest_slot();
    static void on_handshake(const SSL* ssl, int where, int result);
    static void on_free(void* ssl, void* guest, CRYPTO_EX_DATA* data, int index, long number,
                        void* pointer);

    Guest* arrive(int fd);
    void leave(const Guest& guest);
    void note_progress(Guest& guest, int where, int result);
    void tell_why(const Guest& guest);
    void set_trusted(const SSL& peer, bool trusted);
    void serve();
    void guard();
    std::int64_t end_strangers(std::int64_t now);

    const Patience patience_;
    ControlRefusals refusals_;
    std::mutex mutex_;  // Of all that follows, but the threads.
    std::condition_variable came_, taken_, changed_;
    std::list<Guest> guests_;  // The eldest first.
    std::deque<std::function<void()>> waiting_;
    std::size_t open_ = served_max;  // Threads that serve.
    std::size_t idle_ = 0;           // Of these.
    bool closing_ = false;
    std::vector<std::thread> servers_;
    std::thread guard_;
};

}  // namespace cw::appliance
