#include "agent/group/group_port.h"

#include "base/log.h"
#include "pipeline/group_id.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace cw::agent {
namespace {

constexpr int dial_timeout_ms = 5000;

// A machine that lost its power says nothing: found out within half a minute.
void keep_alive(const Fd& socket) {
    const int one = 1, idle_s = 10, every_s = 5, count = 3;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

std::vector<std::string> names_of(const std::vector<GroupOptions::Member>& members) {
    std::vector<std::string> names;
    names.reserve(members.size());
    for (const auto& member : members) {
        names.push_back(to_string(member.machine) + " at " + to_string(member.address));
    }
    return names;
}

std::vector<MachineId> machines_of(const GroupOptions& options) {
    std::vector<MachineId> machines{options.machine};
    for (const auto& member : options.members) {
        machines.push_back(member.machine);
    }
    return machines;
}

}  // namespace

// One attempt to connect, on a thread of its own: names are looked up, and that waits.
class Dialer {
public:
    Dialer(const HostPort& address, const std::function<void()>& wake)
        : thread_([this, address, wake] {
              auto outcome = connect_tcp(address, dial_timeout_ms);
              {
                  const std::lock_guard lock(mutex_);
                  outcome_.emplace(std::move(outcome));
              }
              wake();
          }) {}
    ~Dialer() { thread_.join(); }
    std::optional<Result<Fd>> poll() {
        const std::lock_guard lock(mutex_);
        return std::exchange(outcome_, std::nullopt);
    }

private:
    std::mutex mutex_;
    std::optional<Result<Fd>> outcome_;
    std::thread thread_;
};

GroupPort::GroupPort(GroupOptions options, TlsFiles files, Context context)
    : options_(std::move(options)),
      files_(std::move(files)),
      context_(std::move(context)),
      self_(context_.source, context_.clock, options_.hold_ns) {
    for (const GroupOptions::Member& member : options_.members) {
        outgoing_.push_back({.member = member, .dialer = {}, .stream = {}});
    }
    if (!options_.members.empty()) {
        coordinator_ = std::make_unique<GroupCoordinator>(
            GroupCoordinator::Options{.members = names_of(options_.members),
                                      .machines = machines_of(options_),
                                      .hold_ns = options_.hold_ns},
            self_, *this, context_.clock, context_.random);
    }
}

GroupPort::~GroupPort() = default;

Result<std::unique_ptr<GroupPort>> GroupPort::open(GroupOptions options, TlsFiles files,
                                                   Context context) {
    if (options.listen && options.coordinators.empty()) {
        return fail(Errc::usage, "--group-listen needs a --group-coordinator that may come");
    }
    for (const GroupOptions::Member& member : options.members) {
        if (std::ranges::count(options.members, member.machine, &GroupOptions::Member::machine) >
            1) {
            return fail(Errc::usage, "member " + to_string(member.machine) + " is named twice");
        }
        if (member.machine == options.machine) {
            return fail(Errc::usage, "--group-member names the others, not this machine");
        }
    }
    if (options.members.size() >= pipeline::group_members_max) {
        return fail(Errc::usage, "a group has at most " +
                                     std::to_string(pipeline::group_members_max) + " machines");
    }
    std::unique_ptr<GroupPort> port(
        new GroupPort(std::move(options), std::move(files), std::move(context)));
    if (port->options_.listen) {
        CW_TRY_ASSIGN(port->listener_, listen_tcp(*port->options_.listen));
        CW_TRY_ASSIGN(port->port_, local_port(port->listener_));
        log_info("agent.group.listen", {{"port", port->port_}});
    }
    return port;
}

bool GroupPort::step() {
    accept_some();
    bool worked = false;
    for (auto it = incoming_.begin(); it != incoming_.end();) {
        const auto served = serve(*it);
        if (served) {
            worked = worked || *served;
            ++it;
            continue;
        }
        log_info("agent.group.left", {{"peer", it->stream->address()}, {"error", served.error()}});
        self_.lost(it->number);
        it = incoming_.erase(it);
        worked = true;
    }
    for (std::size_t member = 0; member < outgoing_.size(); ++member) {
        worked = tend(member) || worked;
    }
    self_.step();
    if (coordinator_) {
        coordinator_->step();
    }
    return worked;
}

void GroupPort::accept_some() {
    while (listener_.valid()) {
        Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!socket.valid()) {
            return;
        }
        if (incoming_.size() == incoming_max) {
            log_warning("agent.group.full", {{"peer", peer_name(socket.get())}});
            continue;
        }
        keep_alive(socket);
        auto stream = BarrierStream::open(std::move(socket), BarrierStream::End::listening, files_);
        if (!stream) {
            log_error("agent.group.tls", {{"error", stream.error()}});
            continue;
        }
        incoming_.push_back({++last_number_, std::move(*stream), context_.clock.boot()});
    }
}

Result<bool> GroupPort::serve(Incoming& incoming) {
    BarrierStream& stream = *incoming.stream;
    CW_TRY(stream.step());
    if (!stream.peer()) {
        return context_.clock.boot() - incoming.since < handshake_ns
                   ? Result<bool>(false)
                   : fail(Errc::tls_failed, "the handshake does not end");
    }
    if (!incoming.admitted) {
        if (std::ranges::find(options_.coordinators, MachineId{stream.peer()->id}) ==
            options_.coordinators.end()) {
            return fail(Errc::identity_refused,
                        to_string(*stream.peer()) + " may not hold this machine");
        }
        incoming.admitted = true;
        log_info("agent.group.joined", {{"peer", to_string(*stream.peer())}});
    }
    bool worked = false;
    for (;;) {
        CW_TRY_ASSIGN(const auto message, stream.next());
        if (!message) {
            break;
        }
        worked = true;
        if (const auto answer = self_.take(incoming.number, *message)) {
            stream.send(*answer);
            CW_TRY(stream.step());  // At once: somebody holds his writers for it.
        }
    }
    return worked;
}

// Keeps the connection to a member. True if it did something.
bool GroupPort::tend(std::size_t member) {
    Outgoing& line = outgoing_[member];
    const Nanos now = context_.clock.boot();
    if (line.stream) {
        const auto heard = listen_to(member);
        if (heard) {
            return *heard;
        }
        log_warning("agent.group.member",
                    {{"member", line.member.machine}, {"error", heard.error()}});
        trouble_ = heard.error();
        line.stream.reset();
        line.retry_at = now + retry_ns;
        coordinator_->lost(member);
        return true;
    }
    if (!line.dialer) {
        if (now - line.retry_at >= 0) {
            line.dialer = std::make_unique<Dialer>(line.member.address, context_.wake);
        }
        return false;
    }
    auto dialled = line.dialer->poll();
    if (!dialled) {
        return false;
    }
    line.dialer.reset();
    line.retry_at = now + retry_ns;
    if (!*dialled) {
        trouble_ = dialled->error();
        return true;
    }
    keep_alive(**dialled);
    auto stream = BarrierStream::open(std::move(**dialled), BarrierStream::End::connecting, files_);
    if (!stream) {
        log_error("agent.group.tls", {{"error", stream.error()}});
        return true;
    }
    line.stream = std::move(*stream);
    line.since = now;
    return true;
}

Result<bool> GroupPort::listen_to(std::size_t member) {
    Outgoing& line = outgoing_[member];
    const bool was_live = line.live();
    CW_TRY(line.stream->step());
    if (!line.live()) {
        return context_.clock.boot() - line.since < handshake_ns
                   ? Result<bool>(false)
                   : fail(Errc::tls_failed, "the handshake does not end");
    }
    if (!was_live) {
        if (line.stream->peer()->id != line.member.machine.bytes) {
            return fail(Errc::identity_refused,
                        to_string(line.member.address) + " is " + to_string(*line.stream->peer()));
        }
        log_info("agent.group.member", {{"member", line.member.machine}, {"state", "connected"}});
    }
    bool worked = !was_live;
    for (;;) {
        CW_TRY_ASSIGN(const auto message, line.stream->next());
        if (!message) {
            return worked;
        }
        worked = true;
        coordinator_->take(member, *message);
    }
}

bool GroupPort::send(std::size_t member, const BarrierMessage& message) {
    Outgoing& line = outgoing_[member];
    if (!line.live()) {
        return false;
    }
    line.stream->send(message);
    return line.stream->step().has_value();  // A broken one is found again by tend().
}

void GroupPort::watch(std::vector<pollfd>& waiting) const {
    const auto add = [&](int fd, bool write) {
        waiting.push_back({fd, static_cast<short>(POLLIN | (write ? POLLOUT : 0)), 0});
    };
    if (listener_.valid()) {
        add(listener_.get(), false);
    }
    for (const Incoming& incoming : incoming_) {
        add(incoming.stream->fd(), incoming.stream->wants_write());
    }
    for (const Outgoing& line : outgoing_) {
        if (line.stream) {
            add(line.stream->fd(), line.stream->wants_write());
        }
    }
}

Nanos GroupPort::deadline() const noexcept {
    Nanos when = self_.deadline();
    if (coordinator_) {
        when = std::min(when, coordinator_->deadline());
    }
    for (const Incoming& incoming : incoming_) {
        when = incoming.admitted ? when : std::min(when, incoming.since + handshake_ns);
    }
    for (const Outgoing& line : outgoing_) {
        if (!line.stream && !line.dialer) {
            when = std::min(when, line.retry_at);
        } else if (line.stream && !line.live()) {
            when = std::min(when, line.since + handshake_ns);
        }
    }
    return when;
}

std::size_t GroupPort::connected() const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(outgoing_, &Outgoing::live));
}

}  // namespace cw::agent
