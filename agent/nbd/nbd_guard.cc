#include "agent/nbd/nbd_guard.h"

#include "agent/nbd/guard_channel.h"
#include "base/assert.h"
#include "base/log.h"

#include <cerrno>
#include <csignal>
#include <new>

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::agent {
namespace {

constexpr std::uint64_t beats_between_starts = 64;  // About ten seconds.

// Its own session: a stop key, or a signal for the agent's process group, does not reach it.
int spawn(const std::string& program, int channel) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&files, channel, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    std::string name = "causeway-agent", word = "guard";
    std::array<char*, 3> argv{name.data(), word.data(), nullptr};
    pid_t pid = -1;
    const int error =
        ::posix_spawn(&pid, program.c_str(), &files, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return pid;
}

}  // namespace

NbdGuard::NbdGuard(std::string program, int listener)
    : program_(std::move(program)),
      listener_(listener),
      memory_(::memfd_create("causeway-guard", MFD_CLOEXEC)) {
    CW_ASSERT(memory_.valid() && ::ftruncate(memory_.get(), sizeof(GuardBoard)) == 0);
    void* const at =
        ::mmap(nullptr, sizeof(GuardBoard), PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
    CW_ASSERT(at != MAP_FAILED);
    board_ = ::new (at) GuardBoard;
    sockets_.fill(-1);
    start();
}

NbdGuard::~NbdGuard() {
    end();
    ::munmap(board_, sizeof(GuardBoard));
}

void NbdGuard::start() {
    start_at_beat_ = board_->beat + beats_between_starts;
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        log_error("agent.guard", {{"error", Error{Errc::io_error, "socketpair"}}});
        return;
    }
    channel_ = Fd(ends[0]);
    const Fd theirs(ends[1]);
    pid_ = spawn(program_, theirs.get());
    if (pid_ < 0) {
        log_error("agent.guard", {{"program", program_}, {"errno", errno}});
        channel_.reset();
        return;
    }
    bool told = tell(guard_board, 0, memory_.get()) && tell(guard_listener, 0, listener_);
    for (std::uint32_t slot = 0; slot < guard_slots; ++slot) {
        told = told && (sockets_[slot] < 0 || tell(guard_watch, slot, sockets_[slot]));
    }
    log_info("agent.guard", {{"pid", pid_}, {"told", told}});
}

void NbdGuard::end() {
    channel_.reset();
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(std::exchange(pid_, -1), nullptr, 0);
    }
}

void NbdGuard::beat() {
    ++board_->beat;
    if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) != 0) {
        log_warning("agent.guard.ended", {{"pid", pid_}});
        pid_ = -1;
    }
    if (pid_ < 0 && board_->beat >= start_at_beat_) {
        start();
    }
}

void NbdGuard::watch(std::size_t slot, int socket) {
    CW_ASSERT(sockets_.at(slot) < 0 && turns(slot) % 2 == 0);
    sockets_[slot] = socket;
    if (!tell(guard_watch, static_cast<std::uint32_t>(slot), socket)) {
        log_warning("agent.guard.blind", {{"slot", slot}});
    }
}

void NbdGuard::forget(std::size_t slot) {
    CW_ASSERT(sockets_.at(slot) >= 0);
    sockets_[slot] = -1;
    std::atomic<std::uint64_t>& counter = turns(slot);
    counter += counter % 2;  // It may have ended in the middle of something.
    (void)tell(guard_forget, static_cast<std::uint32_t>(slot), -1);
}

bool NbdGuard::tell(std::uint32_t what, std::uint32_t slot, int fd) {
    if (channel_.valid() && !send_guard_message(channel_.get(), {what, slot, Fd{}}, fd)) {
        channel_.reset();  // It is dead or stuck: it ends, and beat() makes a new one.
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
        }
    }
    return channel_.valid();
}

}  // namespace cw::agent
